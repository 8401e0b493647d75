"""`python -m asynctrace` is the command line."""

import sys

from asynctrace.cli import main

sys.exit(main())

"""The native core works in the main interpreter only; in others the reference records."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("asynctrace.recorder._native")

PROGRAM = """
import sys
interpreters = __import__(sys.argv[1])
text = '''
import json, sys
sys.path[:0] = {path!r}
told = []
try:
    import asynctrace.recorder._native
except ImportError as error:
    told.append(str(error))
import asyncio, asynctrace
async def main():
    await asyncio.sleep(0)
from asynctrace import stream
with asynctrace.record():
    asyncio.run(main())
    told += [asynctrace.core(), type(stream.current.recorder).__name__, len(stream.current.recorder.events) > 10]
# Not the trace: CPython 3.13.0 aborts when an interpreter ends in which one was built, by Python code alone.
print(json.dumps(told), flush=True)
'''.format(path=sys.path)
number = interpreters.create()
failure = interpreters.run_string(number, text)
assert failure is None, failure
# Here it is as ever.
import asynctrace, os
assert asynctrace.core() == "native"
sys.stdout.flush()
os._exit(0)  # some CPythons abort when they end an interpreter in which asyncio ran
"""


def test_another_interpreter_uses_the_reference() -> None:
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    pytest.importorskip(module)
    environment = {name: value for name, value in os.environ.items() if name != "ASYNCTRACE_CORE"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, module], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert "the native core cannot be used" in ran.stderr and "pip install" not in ran.stderr
    refusal, *told = json.loads(ran.stdout)
    assert "interpreter" in refusal
    assert told == ["python", "Recorder", True]

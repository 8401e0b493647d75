"""The errors that asynctrace raises: one base class, each message says what happened and what to do."""


class AsynctraceError(Exception):
    """Base of every error that asynctrace raises on purpose."""


class UsageError(AsynctraceError):
    """The call or the command line asks for something that cannot be done as asked."""


class RecordingError(AsynctraceError):
    """A recording is not in the state that the call needs."""


class FormatError(AsynctraceError):
    """A file is not a trace that this version can read."""


class MissingPackageError(AsynctraceError):
    """A feature needs a package that is not installed."""

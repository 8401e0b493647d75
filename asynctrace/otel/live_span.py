"""The span that is current while a decorated coroutine, a call or a task runs, before there is a real one.

It has ids and says whether it is sampled. What the program does to it is kept, and done to the real span when that is
built: see `asynctrace.otel.sending_live`.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Span, SpanContext, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from types import CodeType

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.sampling import SamplingResult
    from opentelemetry.trace import Link, TraceState
    from opentelemetry.util.types import Attributes, AttributeValue

    from asynctrace.otel.replay import SpanReplay
    from asynctrace.otel.spans import Value

_MOST_OPERATIONS = 1_000  # of one span, which keeps at most 128 attributes and 128 events


@dataclass(frozen=True, slots=True)
class RaisedError:
    """What is told of an exception: its event's attributes, and the sentence of the status."""

    attributes: dict[str, str]
    description: str


def describe_error(error: BaseException, *, is_escaped: bool = False) -> RaisedError:
    """Say of an exception what OpenTelemetry wants to know; nothing keeps it alive."""
    kind = type(error)
    module = getattr(kind, "__module__", "")
    name = f"{module}.{kind.__qualname__}" if module and module != "builtins" else kind.__qualname__
    try:
        message = str(error)
    except Exception:
        message = "<str() failed>"
    attributes = {
        "exception.type": name,
        "exception.message": message,
        "exception.stacktrace": "".join(traceback.format_exception(error)),
        "exception.escaped": str(is_escaped),
    }
    return RaisedError(attributes, f"{kind.__name__}: {message}")


@dataclass(frozen=True, slots=True)
class Described:
    """What is known of a span from the beginning, by its code; that is kept so that its address stays its own."""

    code: CodeType | None
    name: str
    attributes: dict[str, Value]


class TaskContext:
    """What spans did to the context of one task's steps."""

    __slots__ = ("base", "count", "saved")

    def __init__(self, base: Context) -> None:
        self.base = base  # what is current between the steps: others may share the task's context
        self.saved: Context | None = None  # what was current in the last one
        self.count = 0  # of the spans that are open


class LiveSpan(Span):
    """What is current; `is_recording` until the run has ended.

    Attributes:
        described: What is known from the beginning.
        around: The context that it began in.
        context: The one in which it is current.
        links: To what woke it, and who awaited it; found while it runs.
    """

    # No slots: what most spans never have is found in the class. For speed, as is that there is no __init__.
    real: Span | None = None  # of a provider that is not the SDK's: it was started with the run
    span_context: SpanContext | None = None  # not asked for yet
    result: SamplingResult | None = None  # it is sampled, as the sampler will say when it is asked
    links: list[Link] | None = None
    operations: list[tuple[str, tuple[Any, ...]]] | None = None
    error: RaisedError | None = None
    is_sampled = True  # else nothing is kept of it
    is_open = True
    is_driven = False  # a generator, or a coroutine that is driven by hand: it has other code go on
    is_away = False  # that goes on now
    is_root = False  # of its task: it begins with it
    restored: Context | None = None  # of a driven one: what is current where that goes on
    steps: TaskContext | None = None  # of the task that it is in
    end_ns = 0
    outcome = 0
    around: Context
    context: Context
    trace_id: int
    flags: int
    trace_state: TraceState | None
    replay: SpanReplay
    described: Described
    start_ns: int
    offset_ns: int  # from the monotonic clock to the wall's, when it began
    task: int
    thread: int

    def get_span_context(self) -> SpanContext:
        """Return the ids, and whether it is sampled: those of the real one."""
        known = self.span_context
        if known is not None:
            return known
        if self.real is not None:
            return self.real.get_span_context()
        # Nobody asks for most spans' ids while they run. Of two threads that do at once, both get the first answer.
        made = SpanContext(self.trace_id, self.replay.new_span_id(), False, TraceFlags(self.flags), self.trace_state)
        return self.__dict__.setdefault("span_context", made)  # type: ignore[no-any-return]

    @property
    def name(self) -> str:
        """What it is called, as far as is known: the SDK's own spans say so, too."""
        return self.described.name

    @property
    def attributes(self) -> Mapping[str, Value]:
        """The attributes that are known from the beginning."""
        return self.described.attributes

    def is_recording(self) -> bool:
        """Tell whether what is done to it is kept."""
        return self.is_open and self.is_sampled

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Keep an attribute for the real one."""
        self._keep("set_attribute", key, _frozen(value))

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Keep attributes for the real one."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Keep an event for the real one, with the present time."""
        kept = {key: _frozen(value) for key, value in attributes.items()} if attributes else None
        self._keep("add_event", name, kept, timestamp if timestamp is not None else time.time_ns())

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Keep a link for the real one."""
        self._keep("add_link", context, dict(attributes) if attributes else None)

    def update_name(self, name: str) -> None:
        """Have the real one called otherwise."""
        self._keep("update_name", name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Keep a status for the real one."""
        self._keep("set_status", status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Keep what there is to say of an exception, not itself."""
        told: dict[str, AttributeValue] = dict(describe_error(exception, is_escaped=escaped).attributes)
        told.update(attributes or {})
        self.add_event("exception", told, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: it ends with the run that it is of."""

    def _keep(self, method: str, *args: Any) -> None:
        if not self.is_open or not self.is_sampled:
            return
        if self.operations is None:
            self.operations = []
        if len(self.operations) < _MOST_OPERATIONS:
            self.operations.append((method, args))


def _frozen(value: Any) -> Any:
    """Return an attribute's value as it is now: the program may go on with its list."""
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value

"""The native core of reading a `.pftrace`, in C. Its reference is `asynctrace.formats.perfetto_reader`."""

from array import array

def decode_events(
    content: bytes, position: int, target: array[int], threads: array[int], clock_ns: int, thread: int, subject: int
) -> tuple[int, int, int, int]:
    """Append the events from a position on to a target, and pass over the packets between them that hold none.

    Stops before any packet that is for the reference to read: one of a table, one that is cut or damaged, an event
    that is late, of a new thread, or with a number beyond 63 bits.

    Args:
        content: That of the whole file.
        position: Where a packet begins.
        target: The fields of events, flat, typecode "q".
        threads: The threads of the part by their number, typecode "q".
        clock_ns: The time of the packet before.
        thread: That of the event before.
        subject: That of the event before.

    Returns:
        The position where it stopped, and the clock, the thread and the subject there.
    """

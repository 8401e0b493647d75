"""Who is alive, and in what state, after the events so far."""

from __future__ import annotations

from collections.abc import Sequence

from asynctrace.events import Event


class Fold:
    """Being written."""

    def __init__(self) -> None:
        self.count = 0

    def advance(self, fields: Sequence[int]) -> None:
        self.count += len(fields) // 7

    def base(self, time_ns: int) -> list[Event]:
        return []

    def copy(self) -> Fold:
        other = Fold()
        other.count = self.count
        return other

    def take_ended_tasks(self) -> list[int]:
        return []

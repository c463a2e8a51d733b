"""The time of regions on the device that computes, by its events, and never by when work was handed to it.

An event is recorded wherever the loop goes from one region to another. The device passes it when it has done all that
was asked before; so what lies between two events is how long the device was held up by that region. A wait for data
that queued work hides takes no time there, and what it does not hide is the exposed stall.

Written to the interface of `torch.cuda.Event`; it has not run on a GPU yet.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from maelio.sheet import Sheet


class Event(Protocol):
    """As `torch.cuda.Event(enable_timing=True)` has it."""

    def query(self) -> bool:
        """The device has passed it."""

    def synchronize(self) -> None: ...

    def elapsed_time(self, end_event: "Event", /) -> float:
        """Milliseconds from here to there; the device has passed both."""


class DeviceClock:
    """`record()` makes an event, which the device passes in order. Events are asked, never waited for, before `end`.

    Events that were passed are given to `record` again, by way of `reuse`.
    """

    def __init__(self, sheet: Sheet, record: Callable[[Event | None], Event]) -> None:
        self._sheet = sheet
        self._record = record
        self._free: list[Event] = []
        self._last = record(None)
        self._pending: deque[tuple[Event, int, int]] = deque()

    def mark(self, region: int, row: int) -> None:
        """Here `region` ends, of that row of the sheet."""
        self._pending.append((self._record(self._free.pop() if self._free else None), region, row))

    def poll(self) -> None:
        """Write down whatever the device has passed."""
        while self._pending and self._pending[0][0].query():
            event, region, row = self._pending.popleft()
            self._sheet.add_to(row, region, round(self._last.elapsed_time(event) * 1e6))
            self._free.append(self._last)
            self._last = event

    def end(self) -> None:
        """Wait for the last mark, and write down all."""
        if self._pending:
            self._pending[-1][0].synchronize()
        self.poll()


def cuda_events() -> Callable[[Event | None], Event]:
    """Records on the stream that is current now, in the thread that calls this."""
    import torch

    stream = torch.cuda.current_stream()

    def record(event: Event | None) -> Event:
        found: Any = torch.cuda.Event(enable_timing=True) if event is None else event  # type: ignore[no-untyped-call]
        found.record(stream)
        return found  # type: ignore[no-any-return]

    return record

"""One call of a thread that reads: what it does, counted where it is done."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

from maelio.background import Activity, During
from maelio.ledger import Work


class Clock(During):
    """Nanoseconds spent inside, by one thread; ledgers hear of them too."""

    __slots__ = ("_since", "ns")

    def __init__(self, activity: Activity) -> None:
        super().__init__(activity)
        self.ns = 0

    def __enter__(self) -> None:
        super().__enter__()
        self._since = time.perf_counter_ns()

    def __exit__(self, *error: object) -> None:
        self.ns += time.perf_counter_ns() - self._since
        super().__exit__(*error)


@dataclass(slots=True)
class Reading:
    """One call: what it does, counted as it goes, and whether to go on."""

    stop: threading.Event
    epoch: int
    fetching: Clock = field(default_factory=partial(Clock, "fetch"))
    decoding: Clock = field(default_factory=partial(Clock, "decode"))
    transforming: Clock = field(default_factory=partial(Clock, "transform"))
    stored_bytes: int = 0
    delivered_bytes: int = 0

    def work(self) -> Work:
        return Work(
            fetch_s=self.fetching.ns / 1e9,
            decode_s=self.decoding.ns / 1e9,
            transform_s=self.transforming.ns / 1e9,
            stored_bytes=self.stored_bytes,
            delivered_bytes=self.delivered_bytes,
        )


def together(works: Iterable[Work]) -> Work:
    """The sum, field by field."""
    parts = list(works)
    return Work(**{name: sum(getattr(part, name) for part in parts) for name in Work.model_fields})

"""What threads of loaders did while the loop did something else: unions of intervals, taken as they happen.

At every moment the loop is in one region, and some threads fetch, decode or transform. Each time either changes, the
time since the last change is added to the cell of (region, what was going on); so the length of a union, and of what
it shares with any region, is a sum of cells, and nothing is kept that grows with the run.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Activity = Literal["fetch", "decode", "transform"]
ACTIVITIES: tuple[Activity, ...] = get_args(Activity)


class Background(BaseModel):
    """Seconds of the window by the region of the loop and by what its loaders' threads did, at least one of them.

    `cells_s["forward"]["fetch+decode"]`: the loop computed while some thread fetched and some thread decoded. The
    name of nothing is "". Threads of all streams in this process count, worker processes do not. `threads`: the most
    that were at work at the same time.
    """

    model_config = ConfigDict(frozen=True)

    threads: int
    cells_s: dict[str, dict[str, float]]

    def of(self, *activities: Activity, during: Sequence[str] | None = None) -> float:
        """The length of the union of these activities, as far as it lies in the regions `during`: in all by default."""
        return sum(
            seconds
            for region, cells in self.cells_s.items()
            if during is None or region in during
            for name, seconds in cells.items()
            if not set(activities).isdisjoint(name.split("+"))
        )


class Sweep:
    """The cells of one window, and where it stands. Any thread may call it. `regions`: those of the loop, by number."""

    def __init__(self, regions: int, region: int, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._region = region
        self._threads = [0] * len(ACTIVITIES)
        self._mask = 0
        self._most = 0
        self._cells = [[0] * 2 ** len(ACTIVITIES) for _ in range(regions)]
        self._since = clock()

    def turn(self, region: int) -> int:
        """The loop is in `region` from now on. Returns what the clock says."""
        with self._lock:
            now = self._settle()
            self._region = region
            return now

    def begin(self, activity: int) -> None:
        """One more thread does this."""
        with self._lock:
            self._settle()
            self._threads[activity] += 1
            self._mask |= 1 << activity
            self._most = max(self._most, sum(self._threads))

    def end(self, activity: int) -> None:
        with self._lock:
            self._settle()
            self._threads[activity] -= 1
            if not self._threads[activity]:
                self._mask &= ~(1 << activity)

    def seen(self, names: Sequence[str]) -> Background | None:
        """Until the last change; None where no thread did anything. `names` of the regions."""
        if not any(any(cells[1:]) for cells in self._cells):
            return None
        return Background(
            threads=self._most,
            cells_s={
                name: {_name(mask): ns / 1e9 for mask, ns in enumerate(cells) if ns}
                for name, cells in zip(names, self._cells, strict=True)
                if any(cells)
            },
        )

    def _settle(self) -> int:
        now = self._clock()
        self._cells[self._region][self._mask] += now - self._since
        self._since = now
        return now


def _name(mask: int) -> str:
    return "+".join(name for number, name in enumerate(ACTIVITIES) if mask & 1 << number)


class During:
    """A thread does `activity` inside: every window that is open at its begin hears of it."""

    __slots__ = ("_activity", "_heard")

    def __init__(self, activity: Activity) -> None:
        self._activity = ACTIVITIES.index(activity)
        self._heard: tuple[Sweep, ...] = ()

    def __enter__(self) -> None:
        self._heard = _open
        for sweep in self._heard:
            sweep.begin(self._activity)

    def __exit__(self, *error: object) -> None:
        for sweep in self._heard:
            sweep.end(self._activity)


_open: tuple[Sweep, ...] = ()
_changing = threading.Lock()


def listen(sweep: Sweep) -> None:
    """Tell `sweep` of all threads from now on."""
    global _open
    with _changing:
        _open = (*_open, sweep)


def leave(sweep: Sweep) -> None:
    global _open
    with _changing:
        _open = tuple(other for other in _open if other is not sweep)

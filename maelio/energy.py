"""The energy of a measured window: counters read at both ends, and power traced between them.

A counter is what its maker vouches for; the trace is a cross-check, and says in which region of the ledger the
energy went. Where there is no counter, or it did not move, the energy by it is null: a trace is never called one.

Source: what each NVIDIA sensor averages and how often it looks: Yang, Adamek and Armour (2024), arXiv:2312.02741.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

Scope = Literal["gpu", "cpu", "node"]
Spent = Callable[[], Mapping[str, int]]


class MeterLost(Exception):
    """A meter does not answer any more; the text says why."""


class Meter(Protocol):
    """Something that tells energy or power. `wrap_j`: where its counter begins again at 0; None: it never does.

    `scope` is what it sees: scopes overlap (a node holds its GPUs), so they are never added.
    """

    @property
    def name(self) -> str: ...

    @property
    def scope(self) -> Scope: ...

    @property
    def period_s(self) -> float: ...

    @property
    def wrap_j(self) -> float | None: ...

    def joules(self) -> float | None:
        """Since some time in the past; None: it has no counter. Raises MeterLost."""

    def watts(self) -> float | None:
        """By its sensor, which averages over some time; None: it has none. Raises MeterLost."""


class Energy(BaseModel):
    """What one meter saw of a window. Joules, never Wh; null is not known, never zero.

    `joules` by its counter; `traced_j` by the trapezoids of its power, from end to end. `regions_j`: how the first,
    else the second, divides among the regions of the ledger, by the trace. `note` says what is wrong.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    scope: Scope
    seconds: float
    readings: int
    joules: float | None = None
    traced_j: float | None = None
    max_watts: float | None = None
    regions_j: dict[str, float] = {}
    note: str | None = None

    @property
    def watt_hours(self) -> float | None:
        """By the counter."""
        return None if self.joules is None else self.joules / 3600


@dataclass(frozen=True, slots=True)
class Reading:
    """At `ns` of the clock; `spent`: the ledger's nanoseconds of every region until then."""

    ns: int
    joules: float | None
    watts: float | None
    spent: Mapping[str, int]


def energy_of(meter: Meter, readings: Sequence[Reading]) -> Energy:
    """Of the window from the first reading to the last."""
    seconds = (readings[-1].ns - readings[0].ns) / 1e9
    powers = [reading.watts for reading in readings if reading.watts is not None]
    traced = _trapezoids(readings) if len(powers) == len(readings) else None
    counted, note = _counted(readings, meter.wrap_j)
    by_counter = None
    if counted is not None and not sum(counted):
        note = f"the counter did not move in {seconds:.3g} s"
    elif counted is not None:
        by_counter = sum(counted)
    parts = traced if traced is not None else counted
    traced_j = None if traced is None else sum(traced)
    whole = by_counter if by_counter is not None else traced_j
    return Energy(
        name=meter.name,
        scope=meter.scope,
        seconds=seconds,
        readings=len(readings),
        joules=by_counter,
        traced_j=traced_j,
        max_watts=max(powers, default=None),
        regions_j={} if whole is None or parts is None else _divided(readings, parts, whole),
        note=note,
    )


def _trapezoids(readings: Sequence[Reading]) -> list[float]:
    """Joules between every two readings; all have watts."""
    return [
        ((before.watts or 0.0) + (after.watts or 0.0)) / 2 * (after.ns - before.ns) / 1e9
        for before, after in pairwise(readings)
    ]


def _counted(readings: Sequence[Reading], wrap_j: float | None) -> tuple[list[float] | None, str | None]:
    """Joules between every two readings; None, and why, where the counter does not say."""
    steps = []
    for before, after in pairwise(readings):
        if before.joules is None or after.joules is None:
            return None, None
        step = after.joules - before.joules
        if step < 0 and wrap_j is None:
            return None, f"the counter fell from {before.joules:.6g} to {after.joules:.6g} J"
        steps.append(step if step >= 0 or wrap_j is None else step + wrap_j)
    return steps, None


def _divided(readings: Sequence[Reading], parts: Sequence[float], whole: float) -> dict[str, float]:
    """`whole` joules by region: each part goes where the time between its readings went."""
    found: dict[str, float] = {}
    for part, (before, after) in zip(parts, pairwise(readings), strict=True):
        spent = {region: ns - before.spent.get(region, 0) for region, ns in after.spent.items()}
        total = sum(spent.values())
        for region, ns in spent.items():
            if total and ns:
                found[region] = found.get(region, 0.0) + part * ns / total
    placed = sum(found.values())
    return {region: joules * whole / placed for region, joules in found.items()} if placed else {}


class Trace:
    """One meter, read at a fixed rate by a thread of its own, and at both ends by the caller's.

    A reading that comes late is not made up for: the next one is due where it always was.
    """

    def __init__(self, meter: Meter, spent: Spent, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._meter, self._spent, self._clock = meter, spent, clock
        self._readings: list[Reading] = []
        self._lost: str | None = None
        self._stop = threading.Event()
        self._start = clock()
        self._read()
        self._thread = threading.Thread(target=self._follow, name=f"maelio-power {meter.name}", daemon=True)
        self._thread.start()

    def end(self) -> Energy:
        """The window ends here. Call once."""
        self._stop.set()
        self._thread.join()
        self._read()
        if self._lost is None:
            return energy_of(self._meter, self._readings)
        return Energy(
            name=self._meter.name,
            scope=self._meter.scope,
            seconds=(self._clock() - self._start) / 1e9,
            readings=len(self._readings),
            note=self._lost,
        )

    def _follow(self) -> None:
        start, number = time.monotonic(), 0
        while self._lost is None:
            number = max(number + 1, int((time.monotonic() - start) / self._meter.period_s))
            if self._stop.wait(start + number * self._meter.period_s - time.monotonic()):
                return
            self._read()

    def _read(self) -> None:
        if self._lost is not None:
            return
        try:
            joules, watts = self._meter.joules(), self._meter.watts()
        except MeterLost as error:
            self._lost = f"lost after {(self._clock() - self._start) / 1e9:.3g} s: {error}"
            return
        self._readings.append(Reading(self._clock(), joules, watts, self._spent()))


@contextmanager
def metering(
    meters: Sequence[Meter], spent: Spent, found: list[Energy], clock: Callable[[], int]
) -> Iterator[None]:
    """Trace all `meters` inside; what they saw is appended to `found` at the end."""
    with ExitStack() as stack:
        for meter in reversed(meters):
            stack.callback(lambda trace: found.append(trace.end()), Trace(meter, spent, clock))
        yield

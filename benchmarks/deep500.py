"""Times under the keys of Deep500-for-MAELSTROM, so that runs stand beside what its applications measured.

EPOCH is the wall time of a window, BATCH a step; the others are parts of a step. IO is the visible wait for data, as
there; OTHER is what has no key of its own: the optimizer, transforms, copies, validation and the rest.

Source: MAELSTROM deliverable D2.6, timers EPOCH, BATCH, FORWARD, BACKWARD, COMM, IO, OTHER with min, mean, median, max
and standard deviation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, pstdev

from maelio.ledger import IO, REGIONS, Region, Times

KEYS: dict[str, tuple[Region, ...]] = {
    "IO": IO,
    "FORWARD": ("forward",),
    "BACKWARD": ("backward",),
    "COMM": ("communication",),
}
OTHER = tuple(region for region in REGIONS if not any(region in regions for regions in KEYS.values()))


@dataclass(frozen=True, slots=True)
class Timer:
    """Seconds. `total_s` is of the whole window; the rest is of the `count` steps that are told one by one."""

    count: int
    total_s: float
    min_s: float | None = None
    mean_s: float | None = None
    median_s: float | None = None
    max_s: float | None = None
    stdev_s: float | None = None


def timers(times: Times) -> dict[str, Timer]:
    """Of one window. IO, FORWARD, BACKWARD, COMM and OTHER sum to EPOCH."""
    found = {"EPOCH": _timer_of(times.wall_s, [times.wall_s]), "BATCH": _timer(times, REGIONS)}
    found |= {key: _timer(times, regions) for key, regions in KEYS.items()}
    rest = times.wall_s - sum(found[key].total_s for key in KEYS)
    return {**found, "OTHER": replace(_timer(times, OTHER), total_s=rest)}


def _timer(times: Times, regions: Sequence[Region]) -> Timer:
    zeros = (0.0,) * (0 if times.each is None else len(times.each.numbers))
    columns = [] if times.each is None else [times.each.regions_s.get(region, zeros) for region in regions]
    total = sum(times.regions_s.get(region, 0.0) for region in regions)
    return _timer_of(total, [sum(step) for step in zip(*columns, strict=True)])


def _timer_of(total_s: float, steps_s: Sequence[float]) -> Timer:
    if not steps_s:
        return Timer(0, total_s)
    return Timer(
        len(steps_s), total_s, min(steps_s), fmean(steps_s), median(steps_s), max(steps_s), pstdev(steps_s)
    )

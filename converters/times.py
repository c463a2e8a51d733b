"""How files line up, one behind the other: one epoch, one calendar, forward in even steps."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import cftime
import numpy as np
from numpy.typing import NDArray

from maelio.converters.source import Source
from maelio.errors import Inconsistent

_GAP = 1.5  # a step longer than this many median steps is a gap; months differ by less


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive rows of one file."""

    file: int
    rows: range


@dataclass(frozen=True, slots=True)
class Joined:
    """The rows of `runs` along `dimension`, one behind the other."""

    dimension: str
    runs: tuple[Run, ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """The first row of each run, and the end of the last one."""
        return tuple(accumulate((len(run.rows) for run in self.runs), initial=0))

    @property
    def count(self) -> int:
        return self.starts[-1]

    def take(self, ranges: Sequence[range]) -> "Joined":
        """Only these rows, in this order."""
        starts = self.starts
        taken = []
        for rows in ranges:
            first = rows.start
            while first < rows.stop:
                number = bisect_right(starts, first) - 1
                stop = min(rows.stop, starts[number + 1])
                run, shift = self.runs[number], self.runs[number].rows.start - starts[number]
                taken.append(Run(run.file, range(first + shift, stop + shift)))
                first = stop
        return Joined(self.dimension, tuple(taken))


def line_up(
    sources: Sequence[Source], times: Sequence[NDArray[np.float64]] | None, dimension: str
) -> tuple[list[int], Joined]:
    """The order of the files along `dimension`, by time where there is one, else as given.

    The runs count files in that order.
    """
    order = list(range(len(sources)))
    if times is not None:
        order.sort(key=lambda file: float(times[file][0]))
    runs = [Run(place, range(sources[file].sizes[dimension])) for place, file in enumerate(order)]
    return order, Joined(dimension, tuple(runs))


def check_times(sources: Sequence[Source], times: Sequence[NDArray[np.float64]], *, allow_gaps: bool) -> None:
    """Every step goes forward, and none is far longer than the others.

    Raises Inconsistent: naming the file and the step, for a duplicate, a step back, or a gap.
    """
    values = np.concatenate(times)
    owners = np.repeat(np.arange(len(times)), [len(part) for part in times])
    steps = np.diff(values)
    if not np.isfinite(values).all():
        file = sources[owners[np.flatnonzero(~np.isfinite(values))[0]]].path
        raise Inconsistent(f"{file}: a time is missing")
    if (steps <= 0).any():
        at = int(np.flatnonzero(steps <= 0)[0])
        what = "occurs twice" if steps[at] == 0 else "comes after a later one"
        raise Inconsistent(
            f"{sources[owners[at + 1]].path}: time {values[at + 1]:g} {what} (also look at {sources[owners[at]].path.name})"
        )
    if not allow_gaps and len(steps) > 1 and (steps > _GAP * np.median(steps)).any():
        at = int(np.flatnonzero(steps > _GAP * np.median(steps))[0])
        raise Inconsistent(
            f"{sources[owners[at + 1]].path}: a gap of {steps[at]:g} before time {values[at + 1]:g}, other steps are "
            f"{np.median(steps):g}; --allow-gaps takes it"
        )


def epoch_shift(units: str, reference: str, calendar: str) -> float:
    """What to add to times in `units` so that they count from the epoch of `reference`.

    Raises ValueError: the two count in different steps, or cannot be read.
    """
    if units == reference:
        return 0.0
    step, _, _ = units.partition(" since ")
    wanted, _, _ = reference.partition(" since ")
    if step.strip() != wanted.strip():
        raise ValueError(f"steps of {step!r}, wanted {wanted!r}")
    return float(cftime.date2num(cftime.num2date(0, units, calendar), reference, calendar))


def in_step(sources: Sequence[Source], name: str) -> list[float]:
    """The shift of each file's time coordinate onto the first file's epoch.

    Raises Inconsistent: calendars differ, or units that cannot be brought together.
    """
    first = sources[0].variables[name].attributes
    shifts = []
    for source in sources:
        found = source.variables[name].attributes
        _same(source, name, "calendar", found, first, "standard")
        try:
            shifts.append(
                epoch_shift(str(found["units"]), str(first["units"]), str(first.get("calendar", "standard")))
            )
        except (ValueError, KeyError) as error:
            raise Inconsistent(
                f"{source.path}: variable {name!r} has units {found.get('units')!r}: {error}"
            ) from error
    return shifts


def _same(
    source: Source,
    name: str,
    key: str,
    found: Mapping[str, object],
    wanted: Mapping[str, object],
    default: str,
) -> None:
    if found.get(key, default) != wanted.get(key, default):
        raise Inconsistent(
            f"{source.path}: variable {name!r} has {key} {found.get(key, default)!r}, "
            f"wanted {wanted.get(key, default)!r} as in the first file"
        )

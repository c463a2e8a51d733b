"""How the rows of files line up, one behind the other: forward in time, each once, in even steps."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maelio.converters.calendars import Clock
from maelio.converters.policies import Action, Subject
from maelio.converters.problems import Problem, problem
from maelio.converters.subset import runs

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


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Rows in their order, each with its time.

    Shape: `times` (row,), as `clock` counts them; a forecast's steps have no clock. `paths` are of all files.
    """

    joined: Joined
    times: NDArray[np.float64]
    paths: Sequence[Path]
    clock: Clock | None

    @property
    def files(self) -> NDArray[np.int64]:
        """The file of each row."""
        return np.array([run.file for run in self.joined.runs for _ in run.rows], np.int64)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The number of each row in its file."""
        return np.array([row for run in self.joined.runs for row in run.rows], np.int64)

    def take(self, positions: NDArray[np.int64]) -> "Line":
        """These rows, in this order."""
        joined = self.joined.take(runs(positions))
        return Line(joined, self.times[positions], self.paths, self.clock)

    def label(self, time: float) -> str:
        date = self.clock.date(time) if self.clock else None
        return f"{self.joined.dimension} {time:.12g}" + (f" ({date})" if date else "")

    def first_seen(self) -> NDArray[np.int64]:
        """Positions of the rows whose time does not occur before, in order."""
        return np.sort(np.unique(self.times, return_index=True)[1])


def line_up(lengths: Sequence[int], times: Sequence[NDArray[np.float64]] | None, dimension: str) -> Joined:
    """All rows of all files, the files by their first time where there is one, else as given."""
    order = list(range(len(lengths)))
    if times is not None:
        order.sort(key=lambda file: float(times[file][0]))
    return Joined(dimension, tuple(Run(file, range(lengths[file])) for file in order))


def disorder(line: Line) -> Iterator[Problem]:
    """Times that occur twice, one problem for every pair of files; and, without those, a file's first step back."""
    files, seen = line.files, line.first_seen()
    yield from _doubles(line, files, np.setdiff1d(np.arange(len(line.times)), seen))
    back = seen[1:][np.diff(line.times[seen]) < 0]
    before = seen[:-1][np.diff(line.times[seen]) < 0]
    for file in dict.fromkeys(files[back].tolist()):
        here = np.flatnonzero(files[back] == file)
        at, other = back[here[0]], line.paths[files[before[here[0]]]]
        more = f" and {len(here) - 1} more" if len(here) > 1 else ""
        yield problem(
            "unsorted", line.paths[file],
            f"{line.label(line.times[at])}{more} comes after a later one (also look at {other.name})",
        )  # fmt: skip


def _doubles(line: Line, files: NDArray[np.int64], again: NDArray[np.int64]) -> Iterator[Problem]:
    """`again`: positions of the rows whose time was there before."""
    unique, first = np.unique(line.times, return_index=True)
    others = first[np.searchsorted(unique, line.times[again])]
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for at, pair in zip(
        again.tolist(), zip(files[again].tolist(), files[others].tolist(), strict=True), strict=True
    ):
        found[pair].append(at)
    for (file, other), here in found.items():
        more = f" and {len(here) - 1} more" if len(here) > 1 else ""
        yield problem(
            "duplicate", line.paths[file],
            f"{line.label(line.times[here[0]])}{more} occurs twice (also look at {line.paths[other].name})",
        )  # fmt: skip


def gaps(line: Line) -> Iterator[Problem]:
    """Steps far longer than the others."""
    steps = np.diff(line.times)
    if len(steps) < 2:
        return
    files, usual = line.files, float(np.median(steps))
    for at in np.flatnonzero(steps > _GAP * usual).tolist():
        yield problem(
            "gap", line.paths[files[at + 1]],
            f"a gap of {steps[at]:g} before {line.label(line.times[at + 1])}, other steps are {usual:g}",
        )  # fmt: skip


def settle(line: Line, on: Mapping[Subject, Action]) -> Line:
    """The rows as the policies want them: each time once, and sorted.

    Which of two of one time comes first, the order of the files as they are given says, and in a file that of its rows.
    """
    positions = np.arange(len(line.times))
    sort = on.get("unsorted") == "sort"
    if keep := on.get("duplicate"):
        sort = sort or bool((np.diff(line.times[line.first_seen()]) > 0).all())
        given = np.lexsort((line.rows, line.files))
        if keep == "last":
            given = given[::-1]
        positions = np.sort(given[np.unique(line.times[given], return_index=True)[1]])
    if sort:
        positions = positions[np.argsort(line.times[positions], kind="stable")]
    return line.take(positions)

"""A file beside the first one: what it lacks or has otherwise, and how it takes part all the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.converters.calendars import Clock, clock, translate
from maelio.converters.formats import read_whole, undecodable
from maelio.converters.merge import differences, reversed_latitudes, shared, turned, unlike
from maelio.converters.options import Options
from maelio.converters.problems import Problem, failure, problem
from maelio.converters.selection import is_time, sample_dimensions, select
from maelio.converters.source import Source, stand_in
from maelio.errors import BadData

Raw = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every file should have: names to stack and to carry along, and the dimensions of the samples."""

    dimensions: tuple[str, ...]
    stacked: tuple[str, ...]
    carried: tuple[str, ...]

    @property
    def dimension(self) -> str:
        """The one along which files are joined."""
        return self.dimensions[0]

    def but(self, dropped: set[str]) -> "Wanted":
        stacked, carried = (
            tuple(name for name in names if name not in dropped) for names in (self.stacked, self.carried)
        )
        return Wanted(self.dimensions, stacked, carried)


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A file that takes part, and what it carries along, as the first file counts and orders it."""

    source: Source
    values: Raw


def wanted_of(source: Source, options: Options) -> Wanted:
    """What the first file makes of the request. Raises BadRequest: it does not fit the file."""
    dimensions = sample_dimensions(source, options.samples)
    stacked, carried = select(source, options.variables, dimensions)
    return Wanted(dimensions, tuple(stacked), tuple(carried))


def take_part(source: Source, first: Member | None, wanted: Wanted) -> tuple[Member | None, list[Problem]]:
    """A file as it would take part if all its problems were accepted; None where it cannot."""
    model = first.source if first else source
    problems = [
        *unlike(source, model, wanted.stacked, wanted.carried, wanted.dimension),
        *undecodable(source, (*wanted.stacked, *wanted.carried)),
    ]
    if not source.sizes.get(wanted.dimension):
        return None, problems
    lost = frozenset(each.variable for each in problems if each.variable)
    try:
        values = read_whole(source, [name for name in wanted.carried if name not in lost])
    except BadData as error:
        return None, [*problems, failure(source.path, error)]
    values, untold = _by_clock(source, values, model)
    problems += untold
    if wanted.dimension in wanted.carried and wanted.dimension not in values:
        return None, problems
    if missing := _missing_times(source, values, wanted.dimension):
        return None, [*problems, missing]
    if first:
        turning = reversed_latitudes(source, values, first.values) - {wanted.dimension}
        problems += [
            problem(
                "latitude", source.path, "runs the other way", f"as in {model.path.name}", variable=name
            )
            for name in sorted(turning)
        ]  # fmt: skip
        source = replace(source, flipped=turning)
        values = turned(source, values)
        problems += differences(source, values, model, first.values, wanted.dimension)
        values = {name: shared(value, first.values.get(name, value)) for name, value in values.items()}
    nothing = [name for name in wanted.stacked if name in lost and model.variables[name].decoded.kind == "f"]
    source = _with_stand_ins(source, model, nothing, wanted)
    return Member(source, values), problems


def _with_stand_ins(source: Source, model: Source, names: Sequence[str], wanted: Wanted) -> Source:
    if source is model or not names:
        return source
    samples = source.sizes[wanted.dimension]
    stand_ins = {name: stand_in(model.variables[name], wanted.dimension, samples) for name in names}
    return replace(source, variables={**source.variables, **stand_ins}, absent=frozenset(names))


def _by_clock(source: Source, values: Raw, first: Source) -> tuple[Raw, list[Problem]]:
    """Times, and their bounds with them, as the first file counts them; without those that cannot be."""
    moved, problems = dict(values), []
    for name in values:
        if not is_time(first, name):
            continue
        found, wanted = (clock(held.variables[name].attributes) for held in (source, first))
        bounds = str(first.variables[name].attributes.get("bounds"))
        following = [bounds] if bounds in values and "units" not in first.variables[bounds].attributes else []
        failed = ""
        for each in (name, *following):
            try:
                moved[each] = translate(values[each], found, wanted)
            except (ValueError, OverflowError) as error:
                failed = failed or f" ({each}: {error})"
                moved.pop(each)
        if failed or not found.runs_like(wanted):
            problems.append(_other_clock(source, name, found, wanted, failed))
    return moved, problems


def _other_clock(source: Source, name: str, found: Clock, wanted: Clock, failed: str) -> Problem:
    if found.calendar != wanted.calendar:
        has, should = f"calendar {found.calendar!r}", f"{wanted.calendar!r}"
    else:
        has, should = f"units {found.units!r}", f"{wanted.units!r} or another epoch"
    return problem(
        "calendar", source.path, f"has {has}{failed}", f"{should} as in the first file", variable=name,
        but=["convert"] if failed else [],
    )  # fmt: skip


def _missing_times(source: Source, values: Raw, dimension: str) -> Problem | None:
    times = values.get(dimension)
    if times is None or times.dtype.kind != "f" or np.isfinite(times).all():
        return None
    row = int(np.flatnonzero(~np.isfinite(times))[0])
    return problem("truncated", source.path, f"is {times[row]} at row {row}", "a time", variable=dimension)

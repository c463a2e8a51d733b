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
from maelio.converters.selection import (
    growing_dimension,
    is_time,
    sample_dimensions,
    select,
    series_dimension,
)
from maelio.converters.source import Source, stand_in
from maelio.errors import BadData, BadRequest

Raw = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What every file should have: names to stack and to carry along, and the dimensions of the samples.

    `dimension` is the one along which files are joined: the samples' first, or another, and samples are series then.
    """

    dimension: str
    dimensions: tuple[str, ...]
    stacked: tuple[str, ...]
    carried: tuple[str, ...]

    @property
    def all_dimensions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.dimensions, self.dimension)))

    def but(self, dropped: set[str]) -> "Wanted":
        stacked, carried = (
            tuple(name for name in names if name not in dropped) for names in (self.stacked, self.carried)
        )
        return Wanted(self.dimension, self.dimensions, stacked, carried)


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A file that takes part, and what it carries along, as the first file counts and orders it."""

    source: Source
    values: Raw


def wanted_of(sources: Sequence[Source], options: Options, *, series: bool) -> Wanted:
    """What the first file makes of the request. `series`: samples may be series along another dimension than theirs.

    Raises BadRequest: it does not fit the file.
    """
    dimensions = sample_dimensions(sources[0], options.samples)
    dimension = _joined_along(sources, dimensions, options, series=series)
    wanted = Wanted(dimension, dimensions, (), ())
    stacked, carried = select(sources[0], options.variables, wanted.all_dimensions)
    return replace(wanted, stacked=tuple(stacked), carried=tuple(carried))


def _joined_along(
    sources: Sequence[Source], samples: Sequence[str], options: Options, *, series: bool
) -> str:
    """The dimension along which files follow each other: the samples' first, or the one of their series.

    Raises BadRequest: in several files, where samples are series and the container cannot take those in one pass, or
        where another dimension of the samples comes first.
    """
    growing = growing_dimension(sources[0])
    if growing and growing in samples[1:] and len(sources) > 1 and not _equal_in_all(sources, growing):
        first = ",".join((growing, *(name for name in samples if name != growing)))
        raise BadRequest(
            f"{len(sources)} files follow each other along {growing!r}, which then is the slowest dimension of the "
            f"samples; wanted --samples {first}"
        )
    along = series_dimension(sources[0], options.variables, samples)
    if along is None or along in options.reduce or (len(sources) > 1 and _equal_in_all(sources, along)):
        return samples[0]
    if series:
        return along
    if len(sources) > 1:
        then = "" if options.format == "zarr" else f"; make it, and of it one of --format {options.format}"
        raise BadRequest(
            f"--samples {','.join(samples)} makes series along {along!r} of {len(sources)} files, which only a "
            f"store of --format zarr takes{then}"
        )
    return samples[0]


def _equal_in_all(sources: Sequence[Source], name: str) -> bool:
    """Files with one and the same coordinate do not follow each other along it."""
    if not all(name in source.variables for source in sources):
        return False
    values = [read_whole(source, [name])[name] for source in sources]
    return all(np.array_equal(found, values[0]) for found in values[1:])


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
            except (ValueError, OverflowError, TypeError) as error:
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

"""Look at the sources and decide: what will be stacked, in which order, and what is carried along as it is.

describe    each file alone: is it whole, what does it hold
compare     each file with the first: variables, grid, calendar; a policy may leave it out, fill, flip or convert
line up     all rows by time: double, unsorted, far apart
plan        what is left
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.calendars import clock
from maelio.converters.derive import reduced
from maelio.converters.formats import describe_all
from maelio.converters.hdf5 import hdf5
from maelio.converters.locate import named
from maelio.converters.members import Member, Wanted, take_part, wanted_of
from maelio.converters.merge import additional, merge_carried
from maelio.converters.options import Options
from maelio.converters.plan import Plan
from maelio.converters.planner import make_plan
from maelio.converters.problems import Problem, Verdicts, refuse
from maelio.converters.remote import located, staging
from maelio.converters.samples import Samples
from maelio.converters.selection import is_time, names
from maelio.converters.source import Source
from maelio.converters.subset import part, runs, subset
from maelio.converters.times import Joined, Line, disorder, gaps, line_up, settle
from maelio.errors import BadData, BadRequest
from maelio.files import show_bytes
from maelio.store import may_be_store

Readable = tuple[Source, tuple[Problem, ...]]  # and what is known to be wrong with it
_COPIES = 3  # of what is carried: as it is read, joined, and encoded


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A plan, and the variables that are not stacked: joined, selected, not decoded."""

    plan: Plan
    carried: dict[str, xr.Variable]


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """All that is wrong with the sources and refused, and what can be made of them; None where nothing can."""

    refused: tuple[Problem, ...]
    prepared: Prepared | None


def prepare(sources: object, target: Path | None, options: Options, folder: Path | None = None) -> Prepared:
    """Read headers and coordinates; no field value is read. `target`: where a store goes.

    Nothing is written but what URLs stand for, into `folder` (default: beside the target).

    Raises:
        BadRequest: the target exists, or the request does not fit the files.
        NotFound, NotPermitted, BadData, Inconsistent: see `maelio.errors`; the message names the file.
    """
    found = survey(sources, target, options, folder)
    if found.refused or found.prepared is None:
        refuse(found.refused)
    return found.prepared


def survey(sources: object, target: Path | None, options: Options, folder: Path | None = None) -> Survey:
    """`prepare` that does not stop at the first problem of the sources; arguments are those of `prepare`.

    Raises:
        BadRequest: the target exists, or the request does not fit the files.
        BadData: the policies leave no file, or no variable.
    """
    if target is not None:
        _check_target(target, options)
        folder = staging(target)
    found = _survey(sources, target, options, folder)
    if found.prepared is None or not found.prepared.plan.slow():
        hdf5.close()
    return found


def _survey(sources: object, target: Path | None, options: Options, folder: Path | None) -> Survey:
    verdicts = Verdicts(options.on)
    described = describe_all(
        located(named(sources), folder, options.group),
        None if options.samples is None else names(options.samples)[0],
        options.variables,
        options.group,
        keep_last=options.on.get("duplicate") == "last",
    )
    for found in described:
        if found.source is None:
            verdicts.judge_file(found.problems)
    try:
        readable = [(found.source, found.problems) for found in described if found.source is not None]
        return _surveyed(readable, options, verdicts, series=target is not None and options.format == "zarr")
    except BadRequest:
        if verdicts.refused:  # what is asked for may be in what cannot be taken
            return Survey(tuple(verdicts.refused), None)
        raise


def _surveyed(readable: Sequence[Readable], options: Options, verdicts: Verdicts, *, series: bool) -> Survey:
    """`series`: samples may be series along another dimension than theirs."""
    members, wanted, dropped = _compared(readable, options, verdicts, series=series)
    if not members:
        return _nothing("file", verdicts)
    if options.variables is None:
        for each in additional([member.source for member in members], wanted.all_dimensions):
            verdicts.judge(each)
    wanted = wanted.but(dropped)
    if not wanted.stacked:
        return _nothing("variable", verdicts)
    return _lined_up(members, wanted, options, verdicts)


def _nothing(left: str, verdicts: Verdicts) -> Survey:
    if not verdicts.refused:
        raise BadData(f"no {left} is left: {'; '.join(verdicts.notes())}")
    return Survey(tuple(verdicts.refused), None)


def _compared(
    readable: Sequence[Readable], options: Options, verdicts: Verdicts, *, series: bool
) -> tuple[list[Member], Wanted, set[str]]:
    """The files that take part, what the first of them makes of the request, and names that no file shall have."""
    members: list[Member] = []
    wanted = Wanted("", (), (), ())
    dropped: set[str] = set()
    for number, (source, known) in enumerate(readable):
        if not members:
            wanted = wanted_of([left for left, _ in readable[number:]], options, series=series)
            _check_carried([each for each, _ in readable], wanted.carried, wanted.dimension, options)
        member, problems = take_part(source, members[0] if members else None, wanted)
        judged = verdicts.judge_file([*known, *problems])
        if judged is None:
            continue
        for each, action in judged:
            if each.variable and (action == "drop" or each.subject == "filter"):
                dropped.add(each.variable)
        if member is not None:
            members.append(member)
    return members, wanted, dropped


def _lined_up(members: Sequence[Member], wanted: Wanted, options: Options, verdicts: Verdicts) -> Survey:
    dimension, sizes = wanted.dimension, members[0].source.sizes
    sources, values = [member.source for member in members], [member.values for member in members]
    times = _times(members, dimension)
    joined = line_up([source.sizes[dimension] for source in sources], times, dimension)
    if times is not None:
        line = _line(joined, times, sources)
        for each in disorder(line):
            if verdicts.action(each):  # what is refused may lie outside of what is selected
                verdicts.judge(each)
        joined = settle(line, options.on).joined
    labels = [name for name in wanted.carried if name in sizes]
    coordinates = merge_carried(sources, values, labels, joined)
    taken = subset(options.select, {**sizes, dimension: joined.count}, coordinates)
    if dimension in taken:
        joined = joined.take(runs(taken.pop(dimension)))
    if times is not None:
        joined = _checked(_line(joined, times, sources), options, verdicts)
    if any(each.subject != "gap" for each in verdicts.refused):
        return Survey(tuple(verdicts.refused), None)
    carried = merge_carried(sources, values, wanted.carried, joined)
    sources, stacked, carried = reduced(
        sources, wanted.stacked, carried, wanted.all_dimensions, options.reduce
    )
    parts = {name: part(at, sizes[name]) for name, at in taken.items()}
    sizes = {**sizes, **{name: len(part) for name, part in parts.items()}, dimension: joined.count}
    samples = Samples(wanted.dimensions, tuple(sizes[name] for name in wanted.dimensions))
    kept = {name: _taken(variable, taken) for name, variable in carried.items()}
    held = sum(variable.nbytes for variable in kept.values())
    plan = make_plan(sources, joined, samples, stacked, options, parts, held)
    return Survey(tuple(verdicts.refused), Prepared(replace(plan, accepted=verdicts.notes()), kept))


def _taken(variable: xr.Variable, taken: Mapping[str, NDArray[np.int64]]) -> xr.Variable:
    return variable.isel({dimension: at for dimension, at in taken.items() if dimension in variable.dims})


def _checked(line: Line, options: Options, verdicts: Verdicts) -> Joined:
    """Only the rows that are taken count: a gap elsewhere does no harm."""
    for each in disorder(line):
        verdicts.judge(each)
    line = settle(line, options.on)
    for each in gaps(settle(line, {"duplicate": "first", "unsorted": "sort"})):
        verdicts.judge(each)
    return line.joined


def _check_carried(sources: Sequence[Source], names: Sequence[str], dimension: str, options: Options) -> None:
    """Raises BadRequest: what is read whole, joined and written whole does not fit the memory."""
    sizes = {
        name: sum(
            prod(variable.shape) * variable.stored.itemsize
            for source in (sources if dimension in sources[0].variables[name].dimensions else sources[:1])
            if (variable := source.variables.get(name))
        )
        for name in names
        if name in sources[0].variables
    }
    if _COPIES * sum(sizes.values()) > options.memory:
        largest = max(sizes, key=lambda name: sizes[name])
        raise BadRequest(
            f"{sources[0].path}: coordinates and what else is carried along whole, above all {largest!r} of "
            f"{show_bytes(sizes[largest])}, need {show_bytes(_COPIES * sum(sizes.values()))}, the limit is "
            f"{show_bytes(options.memory)}; raise --memory, or leave it out with --variables"
        )


def _line(joined: Joined, times: Sequence[NDArray[np.float64]], sources: Sequence[Source]) -> Line:
    attributes = sources[0].variables[joined.dimension].attributes
    return Line(
        joined,
        np.concatenate([times[run.file][run.rows.start : run.rows.stop] for run in joined.runs]),
        [source.path for source in sources],
        clock(attributes) if is_time(sources[0], joined.dimension) else None,
    )


def _times(members: Sequence[Member], dimension: str) -> list[NDArray[np.float64]] | None:
    first = members[0]
    if dimension not in first.values:
        return None
    steps = first.source.variables[dimension].attributes.get("standard_name") == "forecast_period"
    if not steps and not is_time(first.source, dimension):
        return None
    return [member.values[dimension].astype(np.float64) for member in members]


def _check_target(target: Path, options: Options) -> None:
    if not target.exists():
        return
    if not options.overwrite:
        raise BadRequest(f"{target} exists; --overwrite replaces it")
    if not may_be_store(target) and not (target.is_dir() and not any(target.iterdir())):
        raise BadRequest(
            f"{target} is in the way: it is not a store, which --overwrite would replace; move it"
        )

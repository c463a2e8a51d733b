"""Look at the sources and decide: what will be stacked, in which order, and what is carried along as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.derive import reduced
from maelio.converters.formats import describe_all, read_whole
from maelio.converters.merge import check_alike, merge_carried, shared
from maelio.converters.options import Options
from maelio.converters.plan import Plan
from maelio.converters.planner import make_plan
from maelio.converters.samples import Samples
from maelio.converters.selection import is_time, names, sample_dimensions, select
from maelio.converters.source import Source
from maelio.converters.subset import part, runs, subset
from maelio.converters.times import Joined, check_times, in_step, line_up
from maelio.errors import BadData, BadRequest
from maelio.files import show_bytes
from maelio.store import may_be_store

_COPIES = 3  # of what is carried: as it is read, joined, and encoded


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A plan, and the variables that are not stacked: joined, selected, not decoded."""

    plan: Plan
    carried: dict[str, xr.Variable]


def prepare(sources: Sequence[str | Path], target: Path | None, options: Options) -> Prepared:
    """Read headers and coordinates; nothing is written, and no field value is read. `target`: where a store goes.

    Raises:
        BadRequest: the target exists, or the request does not fit the files.
        NotFound, NotPermitted, BadData, Inconsistent: see `maelio.errors`; the message names the file.
    """
    if target is not None:
        _check_target(target, options)
    if not sources:
        raise BadRequest("no source files")
    first = None if options.samples is None else names(options.samples)[0]
    described = describe_all([Path(source) for source in sources], first, options.variables)
    dimensions = sample_dimensions(described[0], options.samples)
    dimension = dimensions[0]
    _check_lengths(described, dimension)
    stacked, others = select(described[0], options.variables, dimensions)
    check_alike(described, stacked, dimension)
    _check_carried(described, others, dimension, options)
    values = _read_carried(described, others)
    times = _times(described, values, dimension)
    order, joined = line_up(described, times, dimension)
    described = [described[file] for file in order]
    carried = merge_carried(described, [values[file] for file in order], others, dimension)
    sizes = described[0].sizes
    taken = subset(options.select, {**sizes, dimension: joined.count}, carried)
    if dimension in taken:
        joined = joined.take(runs(taken[dimension]))
    if times is not None:
        _check_steps(described, [times[file] for file in order], joined, options)
    parts = {name: part(at, sizes[name]) for name, at in taken.items() if name != dimension}
    described, stacked, carried = reduced(described, stacked, carried, dimensions, options.reduce)
    shape = (joined.count, *(len(parts[name]) if name in parts else sizes[name] for name in dimensions[1:]))
    kept = {name: _taken(variable, taken) for name, variable in carried.items()}
    held = sum(variable.nbytes for variable in kept.values())
    plan = make_plan(described, joined, Samples(dimensions, shape), stacked, options, parts, held)
    return Prepared(plan, kept)


def _taken(variable: xr.Variable, taken: Mapping[str, NDArray[np.int64]]) -> xr.Variable:
    return variable.isel({dimension: at for dimension, at in taken.items() if dimension in variable.dims})


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


def _read_carried(sources: Sequence[Source], names: Sequence[str]) -> list[dict[str, NDArray[Any]]]:
    """What files have in common is held once."""
    first: dict[str, NDArray[Any]] = {}
    values = []
    for source in sources:
        found = read_whole(source, [name for name in names if name in source.variables])
        values.append({name: shared(value, first.setdefault(name, value)) for name, value in found.items()})
    return values


def _check_lengths(sources: Sequence[Source], dimension: str) -> None:
    for source in sources:
        if not source.sizes.get(dimension):
            raise BadData(f"{source.path}: dimension {dimension!r} has no values")


def _check_steps(
    sources: Sequence[Source], times: Sequence[NDArray[np.float64]], joined: Joined, options: Options
) -> None:
    """Only the steps that are taken count: a gap elsewhere does no harm."""
    check_times(
        [sources[run.file] for run in joined.runs],
        [times[run.file][run.rows.start : run.rows.stop] for run in joined.runs],
        allow_gaps=options.allow_gaps,
    )


def _check_target(target: Path, options: Options) -> None:
    if not target.exists():
        return
    if not options.overwrite:
        raise BadRequest(f"{target} exists; --overwrite replaces it")
    if not may_be_store(target) and not (target.is_dir() and not any(target.iterdir())):
        raise BadRequest(
            f"{target} is in the way: it is not a store, which --overwrite would replace; move it"
        )


def _times(
    sources: Sequence[Source], values: Sequence[dict[str, NDArray[np.float64]]], dimension: str
) -> list[NDArray[np.float64]] | None:
    if dimension not in values[0]:
        return None
    if sources[0].variables[dimension].attributes.get("standard_name") == "forecast_period":
        return [held[dimension].astype(np.float64) for held in values]
    if not is_time(sources[0], dimension):
        return None
    shifts = in_step(sources, dimension)
    return [held[dimension].astype(np.float64) + shift for held, shift in zip(values, shifts, strict=True)]

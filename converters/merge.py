"""Files that make one dataset: what must agree does, and what is not stacked becomes one variable."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.problems import Problem, problem
from maelio.converters.selection import stackable
from maelio.converters.source import Source, Variable, plain_variable
from maelio.converters.times import Joined

Values = Mapping[str, NDArray[Any]]

_NORTH = {
    "degrees_north",
    "degree_north",
    "degree_N",
    "degrees_N",
    "degreeN",
    "degreesN",
}  # CF 1.11, section 4.1
_LATITUDES = {"latitude", "grid_latitude", "projection_y_coordinate"}


def unlike(
    source: Source, first: Source, stacked: Sequence[str], carried: Sequence[str], dimension: str
) -> Iterator[Problem]:
    """Where a file's variables are not those of the first: another shape, dtype or unit, or not there.

    What is carried along and has no samples is compared by `differences`, value by value.
    """
    if not source.sizes.get(dimension):
        yield problem("truncated", source.path, f"dimension {dimension!r} has no values", "one or more")
        return
    for name in (*stacked, *carried):
        model = first.variables[name]
        if name not in source.variables:
            if name in model.dimensions:
                yield problem("grid", source.path, "is missing", f"as in {first.path.name}", variable=name)
            else:
                dtype = model.decoded if name in stacked else model.stored
                fills = dimension not in model.dimensions or dtype.kind == "f"
                yield problem(
                    "variable", source.path, "is missing", f"as in {first.path.name}",
                    variable=name, but=() if fills else ["fill"],
                )  # fmt: skip
        elif name in stacked or dimension in model.dimensions:
            yield from _other_facts(source, first, name, dimension, with_type=name in stacked)


def additional(sources: Sequence[Source], dimensions: Sequence[str]) -> Iterator[Problem]:
    """Variables that could be stacked, and that the first file lacks."""
    first = sources[0]
    having: dict[str, list[Source]] = defaultdict(list)
    for source in sources[1:]:
        for name in stackable(source, dimensions):
            if name not in first.variables:
                having[name].append(source)
    for name, found in having.items():
        others = f" and {len(found) - 1} more" if len(found) > 1 else ""
        wanted = f"as in {found[0].path.name}{others}"
        lacking = problem("variable", first.path, "is missing", wanted, variable=name, but=["fill"])
        yield replace(lacking, hint="so does --variables without it")


def _other_facts(
    source: Source, first: Source, name: str, dimension: str, *, with_type: bool
) -> Iterator[Problem]:
    found, wanted = source.variables[name], first.variables[name]
    sizes = [_sizes(variable, dimension) for variable in (found, wanted)]
    if found.dimensions != wanted.dimensions or sizes[0] != sizes[1]:
        what = "dimensions" if found.dimensions != wanted.dimensions else "sizes"
        pair = sizes if what == "sizes" else [found.dimensions, wanted.dimensions]
        yield problem(
            "grid", source.path, f"has {what} {pair[0]}", f"{pair[1]} as in {first.path.name}", variable=name
        )
    elif with_type:
        units = [variable.attributes.get("units") for variable in (found, wanted)]
        facts: dict[str, Sequence[object]] = {"dtype": (found.decoded, wanted.decoded), "units": units}
        for what, (held, asked) in facts.items():
            if held != asked:
                yield problem(
                    "variable", source.path, f"has {what} {held}", f"{asked} as in {first.path.name}",
                    variable=name, but=["fill"],
                )  # fmt: skip


def _sizes(variable: Variable, dimension: str) -> tuple[int, ...]:
    return tuple(
        size for name, size in zip(variable.dimensions, variable.shape, strict=True) if name != dimension
    )


def reversed_latitudes(source: Source, values: Values, first: Values) -> frozenset[str]:
    """Dimensions whose latitudes are those of the first file, last to first."""
    return frozenset(
        name
        for name, found in values.items()
        if name in first
        and source.variables[name].dimensions == (name,)
        and _is_latitude(name, source.variables[name])
        and not _equal(found, first[name])
        and _equal(found[::-1], first[name])
    )


def _is_latitude(name: str, variable: Variable) -> bool:
    attributes = variable.attributes
    return (
        name in ("lat", "latitude")
        or attributes.get("units") in _NORTH
        or attributes.get("standard_name") in _LATITUDES
    )


def turned(source: Source, values: Values) -> dict[str, NDArray[Any]]:
    """The values with the dimensions that are read in reverse, in reverse."""
    return {
        name: np.flip(found, tuple(axis for axis, held in enumerate(source.variables[name].dimensions) if held in source.flipped))
        for name, found in values.items()
    }  # fmt: skip


def differences(
    source: Source, values: Values, first: Source, wanted: Values, dimension: str
) -> Iterator[Problem]:
    """Coordinates and the like that have no samples, and other values than those of the first file.

    Where latitudes are in reverse, the two bounds of a cell may be as well.
    """
    bounds = {str(source.variables[name].attributes.get("bounds")) for name in source.flipped}
    for name, found in values.items():
        if dimension in first.variables[name].dimensions or name not in wanted:
            continue
        if _equal(found, wanted[name]):
            continue
        if name in bounds and _equal(found[..., ::-1], wanted[name]):
            continue
        difference = _difference(found, wanted[name])
        yield problem("grid", source.path, f"differs from {first.path.name}: {difference}", variable=name)


def merge_carried(
    sources: Sequence[Source], values: Sequence[Values], names: Sequence[str], joined: Joined
) -> dict[str, xr.Variable]:
    """One raw variable each: of the rows that are joined, or as the first file has it.

    `values` are aligned already: all times count from one epoch. A file that lacks a variable has NaN for it.
    """
    return {name: _merge(sources, values, name, joined) for name in names}


def _merge(sources: Sequence[Source], values: Sequence[Values], name: str, joined: Joined) -> xr.Variable:
    model = sources[0].variables[name]
    if joined.dimension not in model.dimensions:
        return plain_variable(model.dimensions, values[0][name], model.attributes)
    axis = model.dimensions.index(joined.dimension)
    rows = np.concatenate(
        [
            values[run.file][name].take(np.arange(run.rows.start, run.rows.stop), axis)
            if name in values[run.file]
            else np.full(_shape(model, axis, len(run.rows)), np.nan, model.stored)
            for run in joined.runs
        ],
        axis=axis,
    )
    return plain_variable(model.dimensions, rows, model.attributes)


def _shape(model: Variable, axis: int, rows: int) -> tuple[int, ...]:
    return (*model.shape[:axis], rows, *model.shape[axis + 1 :])


def shared(found: NDArray[Any], known: NDArray[Any]) -> NDArray[Any]:
    """`known` where the two are the same, so that many equal ones take the memory of one."""
    return known if found.dtype == known.dtype and _equal(found, known) else found


def _equal(found: NDArray[Any], wanted: NDArray[Any]) -> bool:
    return found is wanted or np.array_equal(
        found, wanted, equal_nan=wanted.dtype.kind == "f" and found.dtype.kind == "f"
    )


def _difference(found: NDArray[Any], wanted: NDArray[Any]) -> str:
    if found.shape != wanted.shape:
        return f"shape {found.shape}, wanted {wanted.shape}"
    at = np.unravel_index(int(np.flatnonzero(np.ravel(found != wanted))[0]), found.shape)
    return f"{found[at]} at {tuple(map(int, at))}, wanted {wanted[at]}"

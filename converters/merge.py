"""Files that make one dataset: what must agree does, and what is not stacked becomes one variable."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.selection import is_time
from maelio.converters.source import Source, Variable
from maelio.converters.times import in_step
from maelio.errors import Inconsistent

Values = Mapping[str, NDArray[Any]]


def check_alike(sources: Sequence[Source], stacked: Sequence[str], dimension: str) -> None:
    """Every file has the first one's data variables: same dimensions, sizes, decoded dtype and unit.

    Raises Inconsistent: naming the file, the variable, what was found and what was wanted.
    """
    first = sources[0]
    for source in sources[1:]:
        for name in stacked:
            if name not in source.variables:
                raise Inconsistent(f"{source.path}: variable {name!r} is missing, {first.path.name} has it")
            found, wanted = (
                _facts(source.variables[name], dimension),
                _facts(first.variables[name], dimension),
            )
            for fact, value in wanted.items():
                if found[fact] != value:
                    raise Inconsistent(
                        f"{source.path}: variable {name!r} has {fact} {found[fact]}, "
                        f"wanted {value} as in {first.path.name}"
                    )


def _facts(variable: Variable, dimension: str) -> dict[str, object]:
    return {
        "dimensions": variable.dimensions,
        "sizes": tuple(
            size for name, size in zip(variable.dimensions, variable.shape, strict=True) if name != dimension
        ),
        "dtype": str(variable.decoded),
        "units": variable.attributes.get("units"),
    }


def merge_carried(
    sources: Sequence[Source], values: Sequence[Values], names: Sequence[str], dimension: str
) -> dict[str, xr.Variable]:
    """One raw variable each: joined along the sample dimension, or equal in all files.

    Times of later files are moved to the first file's epoch, their bounds with them.

    Raises Inconsistent: a variable is missing or differs, or its times cannot be brought together.
    """
    shifts = {name: in_step(sources, name) for name in names if name in _times(sources, names)}
    for name in list(shifts):
        bounds = str(sources[0].variables[name].attributes.get("bounds"))
        if bounds in names and "units" not in sources[0].variables[bounds].attributes:
            shifts[bounds] = shifts[name]
    return {name: _merge(sources, values, name, dimension, shifts.get(name)) for name in names}


def _times(sources: Sequence[Source], names: Sequence[str]) -> set[str]:
    for source in sources:
        for name in names:
            if name not in source.variables:
                raise Inconsistent(
                    f"{source.path}: variable {name!r} is missing, {sources[0].path.name} has it"
                )
    return {name for name in names if is_time(sources[0], name)}


def _merge(
    sources: Sequence[Source],
    values: Sequence[Values],
    name: str,
    dimension: str,
    shifts: Sequence[float] | None,
) -> xr.Variable:
    model = sources[0].variables[name]
    parts = [held[name] for held in values]
    if shifts is not None and any(shifts):
        parts = [
            part + np.asarray(shift).astype(part.dtype) for part, shift in zip(parts, shifts, strict=True)
        ]
    if dimension in model.dimensions:
        joined = np.concatenate(parts, axis=model.dimensions.index(dimension))
        return xr.Variable(model.dimensions, joined, dict(model.attributes))
    for source, part in zip(sources[1:], parts[1:], strict=True):
        if not _equal(part, parts[0]):
            raise Inconsistent(
                f"{source.path}: variable {name!r} differs from {sources[0].path.name}: {_difference(part, parts[0])}"
            )
    return xr.Variable(model.dimensions, parts[0], dict(model.attributes))


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

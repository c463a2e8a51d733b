"""What a dataset would be after the reductions that a store records: by xarray, from the dataset's own values.

A comparison puts it in the dataset's place, so that derived variables are judged by something that did not make them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.subset import subset
from maelio.store import open_store

_METHODS = {"mean": "mean", "std": "standard_deviation"}
_ROUNDINGS = 64  # of the largest member in float64: sums over members may be taken in any order


class Side(Protocol):
    """A dataset that is read by windows."""

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> Sequence[xr.Dataset]: ...

    @property
    def model(self) -> xr.Dataset: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def read(self, name: str, window: Mapping[str, range]) -> NDArray[Any]: ...

    def values_read(self, name: str) -> int:
        """How many values are read for one of `name`."""


@dataclass(frozen=True, slots=True)
class Made:
    """A derived variable: the `statistic` of `variable` over what `select` takes of `dimension` (None: all)."""

    variable: str
    dimension: str
    statistic: str
    select: str | None


def expected(side: Side, found: Side, store: Path | None) -> Side:
    """`side` with the derived variables of `found`, where that is a `store` that has any; else `side` itself."""
    there = side.model.variables
    made = {
        name: one
        for name, one in (_made(store) if store else {}).items()
        if name not in there and one.variable in there and one.dimension in there[one.variable].dims
    }
    return Expected(side, found, made) if made else side


def _made(store: Path) -> dict[str, Made]:
    contents = open_store(store).contents
    select: Any = contents.options.get("select") or {}
    return {
        name: Made(
            variable=str(reduced["variable"]),
            dimension=str(reduced["dimension"]),
            statistic=str(reduced["statistic"]),
            select=select.get(reduced["dimension"]),
        )
        for name, variable in contents.variables.items()
        if isinstance(reduced := variable.encoding.get("reduced"), dict)
    }


@dataclass(frozen=True, eq=False)
class Expected:
    """`side`, but for `made` by its name in `found`: in place of the variables that those are made of."""

    side: Side
    found: Side
    made: Mapping[str, Made]

    @property
    def name(self) -> str:
        return self.side.name

    @property
    def parts(self) -> Sequence[xr.Dataset]:
        return self.side.parts

    @cached_property
    def model(self) -> xr.Dataset:
        model = self.side.model
        lost = {one.variable for one in self.made.values()}
        dimensions = {one.dimension for one in self.made.values()}
        lost |= {str(name) for name in model.coords if dimensions & {*model.variables[name].dims}}
        return model.drop_vars(lost).assign({name: self._template(one) for name, one in self.made.items()})

    def _template(self, made: Made) -> xr.Variable:
        """Names, dtype and attributes; the values are not there."""
        of = self.side.model.variables[made.variable]
        sizes = {str(name): size for name, size in of.sizes.items() if name != made.dimension}
        dtype = of.dtype if of.dtype.kind == "f" else np.dtype(np.float64)
        method = f"{made.dimension}: {_METHODS[made.statistic]}"
        attributes = {**of.attrs, "cell_methods": f"{of.attrs.get('cell_methods', '')} {method}".strip()}
        return xr.Variable(
            tuple(sizes), np.broadcast_to(np.zeros((), dtype), tuple(sizes.values())), attributes
        )

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.made:
            return self.side.shape(name)
        made = self.made[name]
        dimensions = self.side.model.variables[made.variable].dims
        sizes = zip(dimensions, self.side.shape(made.variable), strict=True)
        return tuple(size for dimension, size in sizes if dimension != made.dimension)

    def values_read(self, name: str) -> int:
        if name not in self.made:
            return self.side.values_read(name)
        made = self.made[name]
        return self.side.model.sizes[made.dimension] * self.side.values_read(made.variable)

    def read(self, name: str, window: Mapping[str, range]) -> NDArray[Any]:
        """What xarray makes of the members in float64; where `found` differs by rounding alone, its value."""
        if name not in self.made:
            return self.side.read(name, window)
        made = self.made[name]
        dimensions = tuple(map(str, self.side.model.variables[made.variable].dims))
        everything = {**window, made.dimension: range(self.side.model.sizes[made.dimension])}
        values = self.side.read(made.variable, {dimension: everything[dimension] for dimension in dimensions})
        members = xr.Variable(dimensions, values.astype(np.float64)).isel(self._members(made))
        statistic: xr.Variable = getattr(members, made.statistic)(made.dimension)
        exact = np.asarray(statistic.values)
        found = self.found.read(name, window)
        largest = np.asarray(abs(members).max(made.dimension).values)
        with np.errstate(invalid="ignore", over="ignore"):
            stored = np.abs(exact).astype(found.dtype)
            slack = np.spacing(stored) + _ROUNDINGS * np.finfo(np.float64).eps * largest
            return np.where(np.abs(found - exact) <= slack, found, exact)

    def _members(self, made: Made) -> dict[str, NDArray[np.int64]]:
        if made.select is None:
            return {}
        size = {made.dimension: self.side.model.sizes[made.dimension]}
        coordinates = {
            str(name): variable
            for name, variable in self.side.model.variables.items()
            if name == made.dimension
        }
        return dict(subset({made.dimension: made.select}, size, coordinates))

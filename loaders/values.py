"""What is done to values in the thread that reads them, in place and while they are in its cache."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from maelio.errors import BadRequest
from maelio.loaders.items import Item, vertical
from maelio.store import Statistics, Store

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Missing = Literal["keep", "mask"] | float
Values = TypeVar("Values", Array, torch.Tensor)

_SLAB_BYTES = 2**18  # of one pass: stays in a core's cache between the passes


@dataclass(frozen=True, slots=True, eq=False)
class Standardiser:
    """(value - mean) / std, of each variable and level. Unit of both: the variable's.

    Shape of both: that of a row (variable, *rest) as delivered, 1 along the axes that share them. A variable
    that never varies, or is never there, keeps its unit: its std is 1 here.
    """

    mean: Array
    std: Array

    def apply(self, values: Array) -> None:
        """In place. Shape: (sample, variable, *rest); float."""
        with np.errstate(invalid="ignore", over="ignore"):
            for slab, (mean, std) in _slabs(values, (self.mean, self.std)):
                np.subtract(slab, mean, out=slab, casting="same_kind")
                np.divide(slab, std, out=slab, casting="same_kind")

    def undo(self, values: Values) -> Values:
        """Back to units. Shape: (..., variable, *rest)."""
        if isinstance(values, torch.Tensor):
            std, mean = (torch.from_numpy(part).to(values.device) for part in (self.std, self.mean))
            return (values * std + mean).to(values.dtype)
        return (values * self.std + self.mean).astype(values.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """Standardise, then put `fill` where values are missing (NaN). None: not."""

    standardiser: Standardiser | None = None
    fill: float | None = None

    @property
    def nothing(self) -> bool:
        return self.standardiser is None and self.fill is None

    def __call__(self, values: Array, missing: Mask | None) -> None:
        """In place; `missing` becomes true where a value was. Shape of both: (sample, variable, *rest)."""
        if self.standardiser is not None:
            self.standardiser.apply(values)
        if self.fill is None:
            return
        if values.dtype.kind != "f":
            if missing is not None:
                missing[...] = False
            return
        flat, marks = values.reshape(-1), None if missing is None else missing.reshape(-1)
        step = _SLAB_BYTES // values.itemsize
        for first in range(0, len(flat), step):
            slab = flat[first : first + step]
            found = np.isnan(slab, out=None if marks is None else marks[first : first + step])
            np.copyto(slab, self.fill, where=found)


def fill_of(missing: Missing) -> float | None:
    """The value that stands for missing ones. Raises BadRequest: an unknown choice."""
    if isinstance(missing, str):
        if missing not in ("keep", "mask"):
            raise BadRequest(f"missing={missing!r}; wanted 'keep', 'mask' or a number")
        return 0.0 if missing == "mask" else None
    return float(missing)


def standardisers(
    store: Store, items: Sequence[Item], wanted: bool | Collection[str]
) -> dict[str, Standardiser]:
    """Of each tensor, by the stored statistics of its variables; True: of all variables that are floats.

    Raises BadRequest: a variable that is not delivered, is no float, or has no statistics.
    """
    if not wanted:
        return {}
    if isinstance(wanted, str):
        raise BadRequest(f"standardise={wanted!r}; wanted True or a sequence of names")
    floats = [item for item in items if item.part.array.dtype.kind == "f"]
    there = {name for item in floats for name in item.part.variables}
    names = there if wanted is True else set(wanted)
    if strange := names - there:
        raise BadRequest(
            f"standardise: {min(strange)!r} is no float variable of the batch; there are {', '.join(sorted(there))}"
        )
    found = {item.name: _standardiser(store, item, names) for item in floats}
    return {name: standardiser for name, standardiser in found.items() if standardiser is not None}


def _standardiser(store: Store, item: Item, names: set[str]) -> Standardiser | None:
    part = item.part
    if names.isdisjoint(part.variables):
        return None
    dtype = np.result_type(part.array.dtype, np.float32)
    statistics = store.contents.stacks[part.array.name].statistics
    columns: list[tuple[Array, Array]] = []
    for name in part.variables:
        if name in names and name not in statistics:
            raise BadRequest(
                f"standardise: {store.path} has no statistics of {name!r}; `maelio convert` takes them"
            )
        columns.append(_mean_and_std(statistics[name] if name in names else None))
    levels = max(len(mean) for mean, _ in columns)
    axis, picked = _level_axis(store, item, levels)
    shape = [len(columns), *[1] * (len(part.shape) - 1)]
    if axis is not None:
        shape[axis] = len(picked)
    mean, std = (
        np.stack([np.broadcast_to(column, levels)[picked] for column in of_all]).reshape(shape).astype(dtype)
        for of_all in zip(*columns, strict=True)
    )
    return Standardiser(mean, std)


def _mean_and_std(found: Statistics | None) -> tuple[Array, Array]:
    """Shape: (level,), or (1,)."""
    if found is None:
        return np.zeros(1), np.ones(1)
    mean, std = np.array(found.mean), np.array(found.std)
    return np.nan_to_num(mean), np.where(np.isfinite(std) & (std > 0), std, 1.0)


def _level_axis(store: Store, item: Item, levels: int) -> tuple[int | None, NDArray[np.int64]]:
    """The axis of a row (variable, *rest) along which statistics differ, and which levels are delivered."""
    part = item.part
    if levels == 1:
        return None, np.zeros(1, np.int64)
    name = vertical(store, part.array)
    if name is None:
        raise BadRequest(f"standardise: no coordinate of {part.array.name!r} tells its {levels} levels")
    axis = part.array.dimensions.index(name) - 1
    if axis in part.drawn:
        raise BadRequest(f"standardise: a window is drawn along {name!r}, and statistics differ along it")
    return axis, part.indexes[axis]


def _slabs(values: Array, beside: tuple[Array, Array]) -> Iterator[tuple[Array, tuple[Array, Array]]]:
    """Some rows, or one variable of one row, and what stands `beside` it: rows of their own shape."""
    row_bytes = values[0].nbytes if len(values) else 0
    if row_bytes <= _SLAB_BYTES:
        step = _SLAB_BYTES // max(row_bytes, 1) or 1
        for first in range(0, len(values), step):
            yield values[first : first + step], beside
        return
    for row in values:
        for number in range(len(row)):
            slab = slice(number, number + 1)
            yield row[slab], (beside[0][slab], beside[1][slab])

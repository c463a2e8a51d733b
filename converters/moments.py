"""Count, extremes, mean and deviation of a field, in one pass over memory that is still in the cache.

Sums are taken in float64. Where a field is far from zero, they are of differences from a value of the field itself, its
first part's least, so that 1e5 Pa with a deviation of 1 Pa loses nothing; parts are joined exactly enough for any order
and number of regions.

Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", formula 2.1.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.store import Statistics

_SLAB_VALUES = 2**16  # of one pass: 512 KiB as float64, well inside a core's cache
_JOINED_AT_ONCE = 2**10  # moments of parts, all levels counted
_BLOCK_VALUES = 2**13  # of one dot product: from 10000 on OpenBLAS takes threads of its own
_SMALL_ROW = (
    2**13
)  # values of all variables: of such, many rows are in one pass, and few calls of NumPy are made
_LONG_RUN = 2**10  # values: of shorter ones extremes are faster found in a copy that lies in one piece
_SIDE_BY_SIDE = 64  # levels of one value each: of fewer, sums are faster taken along the rows
_FAR = 4  # extents of a field that its values may be away from zero, and sums of them still lose nothing


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Of one variable. Shape of each: (level,), float64 and int64; `spread` is the sum of squared deviations."""

    count: NDArray[np.int64]
    missing: NDArray[np.int64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    def join(self, other: "Moments") -> "Moments":
        return _join([self, other])

    def part(self, levels: slice) -> "Moments":
        return Moments(*(getattr(self, name)[levels] for name in self.__slots__))

    def statistics(self) -> Statistics:
        known = np.where(self.count > 0, 1.0, np.nan)
        with np.errstate(invalid="ignore"):
            std = np.sqrt(self.spread / np.maximum(self.count, 1))
            return Statistics(
                count=tuple(self.count.tolist()),
                missing=tuple(self.missing.tolist()),
                min=tuple(self.min.tolist()),
                max=tuple(self.max.tolist()),
                mean=tuple((self.mean * known).tolist()),
                std=tuple((std * known).tolist()),
            )

    def to_json(self) -> dict[str, list[Any]]:
        """Hexadecimal floats, so that a resumed conversion has the very same bits."""
        return {
            name: [
                value.hex() if isinstance(value, float) else value for value in getattr(self, name).tolist()
            ]
            for name in self.__slots__
        }

    @classmethod
    def from_json(cls, entry: dict[str, list[Any]]) -> "Moments":
        def array(values: list[Any]) -> NDArray[Any]:
            return np.array([float.fromhex(value) if isinstance(value, str) else value for value in values])

        return cls(**{name: array(entry[name]) for name in cls.__slots__})


def join(parts: Iterable[Moments], levels: int) -> Moments:
    """Moments of all values of all `parts`, whatever their number and order; few are held at a time."""
    joined, rest = nothing(levels), iter(parts)
    while some := list(islice(rest, max(1, _JOINED_AT_ONCE // levels))):
        joined = _join([joined, *some])
    return joined


def _join(found: Sequence[Moments]) -> Moments:
    counts = np.stack([part.count for part in found])
    means = np.stack([part.mean for part in found])
    count = counts.sum(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = (counts / np.maximum(count, 1) * means).sum(axis=0)
        between = (counts * (means - mean) ** 2).sum(axis=0)
        return Moments(
            count=count,
            missing=np.sum([part.missing for part in found], axis=0),
            min=np.fmin.reduce([part.min for part in found]),
            max=np.fmax.reduce([part.max for part in found]),
            mean=mean,
            spread=np.sum([part.spread for part in found], axis=0) + between,
        )


def nothing(levels: int) -> Moments:
    none, zero, nan = np.zeros(levels, np.int64), np.zeros(levels), np.full(levels, np.nan)
    return Moments(count=none, missing=none, min=nan, max=nan, mean=zero, spread=zero)


def moments(field: NDArray[Any], level_axis: int | None) -> Moments:
    """Moments of `field` (sample, *rest), any strides, for each index along `level_axis`."""
    leading = field[:, None] if level_axis is None else np.moveaxis(field, level_axis, 1)
    sums = _Sums(leading.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):
        for values in _slabs(leading):
            sums.add(values)
        return sums.moments()


def moments_of_each(block: NDArray[Any], level_axis: int | None) -> tuple[Moments, ...]:
    """Those of every variable of `block` (sample, variable, *rest), C-contiguous; `level_axis` is one of the variable."""
    rows, variables, *rest = block.shape
    if level_axis in (None, 1) and variables * prod(rest) <= _SMALL_ROW:
        levels = 1 if level_axis is None else rest[0]
        together = moments(block.reshape(rows, variables * levels, prod(rest) // levels), 1)
        return tuple(
            together.part(slice(first, first + levels)) for first in range(0, variables * levels, levels)
        )
    return tuple(moments(block[:, number], level_axis) for number in range(variables))


def scratch_bytes(values: int) -> int:
    """The most that `moments` holds besides a field of so many values."""
    return 5 * 8 * min(values, _SLAB_VALUES)


def _slabs(field: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Parts of `field` (sample, level, *rest), of shape (level, row, value), that are small enough to stay in the cache."""
    rows = max(1, _SLAB_VALUES * len(field) // max(field.size, 1))
    levels = field.shape[1]
    for first in range(0, len(field), rows):
        slab = field[first : first + rows].swapaxes(0, 1)
        values = slab.reshape(*slab.shape[:2], -1)
        width = max(1, _SLAB_VALUES // levels) if rows == 1 else values.shape[2]
        for column in range(0, values.shape[2], width):
            yield values[:, :, column : column + width]


class _Sums:
    """What is known of the slabs so far, of each level; sums are of differences from `_shift`."""

    def __init__(self, levels: int) -> None:
        self._count = 0
        self._missing = np.zeros(levels, np.int64)
        self._shift = np.full(levels, np.nan)
        self._low: list[NDArray[Any]] = [self._shift]
        self._high: list[NDArray[Any]] = [self._shift]
        self._unknown = True  # the shift of a level, or more
        self._shifted = False  # some level is
        self._total, self._squares = np.zeros(levels), np.zeros(levels)
        self._scratch = np.empty(0)

    def add(self, values: NDArray[Any]) -> None:
        """Shape: (level, row, value)."""
        if values.shape[2] == 1 and len(values) >= _SIDE_BY_SIDE:
            rows = values[:, :, 0].T
            known = self._room(rows.size).reshape(rows.shape)
            self._look(rows, rows, known, 0)
            self._total += np.einsum("rl->l", known)
            self._squares += np.einsum("rl,rl->l", known, known)
            return
        blocks, flat = self._blocks(len(values), values[0].size)
        known = flat.reshape(values.shape)
        seen = values if values.shape[2] >= _LONG_RUN else known
        self._look(values, seen, known, (1, 2))
        self._total += np.einsum("lbv->l", blocks)
        self._squares += np.vecdot(blocks, blocks).sum(axis=1)

    def _look(
        self,
        values: NDArray[Any],
        seen: NDArray[Any],
        known: NDArray[np.float64],
        axis: int | tuple[int, int],
    ) -> None:
        """Note extremes and what is missing, and fill `known` with differences from the shift, zeros where there is none.

        All have one shape; along `axis` are the values of a level. Extremes are those of `seen`: `values`, or
        `known` once it is a copy of them.
        """
        if seen is known:
            np.copyto(known, values)
        low, high, absent = seen.min(axis=axis), seen.max(axis=axis), None
        if np.isnan(low).any():
            absent = np.isnan(seen)
            low, high = np.fmin.reduce(seen, axis=axis), np.fmax.reduce(seen, axis=axis)
            self._missing += absent.sum(axis=axis)
        self._count += known.size // len(low)
        self._low.append(low)
        self._high.append(high)
        if self._unknown:
            self._settle(low.astype(np.float64), high.astype(np.float64))
        if seen is values:
            np.copyto(known, values)
        if self._shifted:
            known -= np.expand_dims(self._shift, axis)
        if absent is not None:
            known[absent] = 0

    def _settle(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """The shifts that are not known yet. A level without a value has none; NaN is never away from zero."""
        far = np.isfinite(low) & (np.abs(low) > _FAR * (high - low))
        found = np.where(np.isnan(low), np.nan, np.where(far, low, 0))
        self._shift = np.where(np.isnan(self._shift), found, self._shift)
        self._unknown = bool(np.isnan(self._shift).any())
        self._shifted = bool(np.any(self._shift != 0))

    def _blocks(self, levels: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shapes: (level, block, value), with zeros at its end; (level, value), a view of it without those."""
        blocks = -(-count // _BLOCK_VALUES)
        padded = blocks * -(-count // blocks)
        whole = self._room(levels * padded).reshape(levels, padded)
        if padded > count:
            whole[:, count:] = 0
        return whole.reshape(levels, blocks, -1), whole[:, :count]

    def _room(self, values: int) -> NDArray[np.float64]:
        """Memory that is used again."""
        if self._scratch.size < values:
            self._scratch = np.empty(values)
        return self._scratch[:values]

    def moments(self) -> Moments:
        count = self._count - self._missing
        divisor = np.maximum(count, 1)
        return Moments(
            count=count,
            missing=self._missing,
            min=np.fmin.reduce(self._low),
            max=np.fmax.reduce(self._high),
            mean=np.where(count > 0, self._shift + self._total / divisor, 0),
            spread=np.maximum(self._squares - self._total**2 / divisor, 0),
        )

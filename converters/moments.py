"""Count, extremes, mean and deviation of a field, in one pass over memory that is still in the cache.

Sums are taken in float64 of differences from a value of the field itself, so that 1e5 Pa with a
deviation of 1 Pa loses nothing; parts are joined exactly enough for any order and number of regions.

Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", formula 2.1.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.store import Statistics

_SLAB_VALUES = 2**16  # of one pass: 512 KiB as float64, well inside a core's cache
_JOINED_AT_ONCE = 2**10  # moments of parts, all levels counted
_BLOCK_VALUES = 2**13  # of one dot product: from 10000 on OpenBLAS takes threads of its own


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
    levels = 1 if level_axis is None else field.shape[level_axis]
    return join(map(_of_slab, _slabs(field, level_axis)), levels)


def scratch_bytes(values: int) -> int:
    """The most that `moments` holds besides a field of so many values."""
    return 5 * 8 * min(values, _SLAB_VALUES)


def _slabs(field: NDArray[Any], level_axis: int | None) -> Iterator[NDArray[Any]]:
    """Parts of shape (level, value) that are small enough to stay in the cache."""
    rows = max(1, _SLAB_VALUES * len(field) // max(field.size, 1))
    for first in range(0, len(field), rows):
        slab = field[first : first + rows]
        leading = slab[None] if level_axis is None else np.moveaxis(slab, level_axis, 0)
        values = leading.reshape(len(leading), -1)
        width = max(1, _SLAB_VALUES // len(values))
        for column in range(0, values.shape[1], width):
            yield values[:, column : column + width]


def _of_slab(values: NDArray[Any]) -> Moments:
    low, high = values.min(axis=1), values.max(axis=1)
    if np.isnan(low).any():
        return _with_missing(values)
    count = np.full(len(values), values.shape[1])
    with np.errstate(invalid="ignore", over="ignore"):
        shift = values[:, 0].astype(np.float64)
        away = _away(values, shift)
        total, squares = away.sum(axis=(1, 2)), np.vecdot(away, away).sum(axis=1)
        spread = np.maximum(squares - total**2 / count, 0)
        return Moments(
            count=count,
            missing=np.zeros_like(count),
            min=low.astype(np.float64),
            max=high.astype(np.float64),
            mean=shift + total / count,
            spread=spread,
        )


def _away(values: NDArray[Any], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of `values` (level, value) from `shift` (level,). Shape: (level, block, value), zeros at the end."""
    levels, width = values.shape
    blocks = -(-width // _BLOCK_VALUES)
    away = np.empty((levels, blocks * -(-width // blocks)))
    away[:, :width] = values
    away[:, :width] -= shift[:, None]
    away[:, width:] = 0
    return away.reshape(levels, blocks, -1)


def _with_missing(values: NDArray[Any]) -> Moments:
    absent = np.isnan(values)
    missing = absent.sum(axis=1)
    count = values.shape[1] - missing
    divisor = np.maximum(count, 1)
    known = np.where(absent, 0, values).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = known.sum(axis=1) / divisor
        away = np.where(absent, 0, known - mean[:, None])
        return Moments(
            count=count,
            missing=missing,
            min=np.fmin.reduce(values, axis=1).astype(np.float64),
            max=np.fmax.reduce(values, axis=1).astype(np.float64),
            mean=mean,
            spread=np.einsum("ij,ij->i", away, away),
        )

"""Every tile of a row in turn: a sample is then a row and a tile of it.

latitude of 9, Tiles(4)                       0..3 4..7            the edge is left out
               Tiles(4, edge="shift")         0..3 4..7 5..8       the last tile is moved inward
               Tiles(4, stride=2)             0..3 2..5 4..7
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadRequest
from maelio.loaders.parts import Part

Edge = Literal["drop", "shift"]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Windows of `size` positions that begin every `stride` positions; by default one behind the other.

    Positions behind the last of them are left out with edge `drop`; with `shift` one more window ends at the last one.

    Raises BadRequest: an unknown `edge`, or a size or stride below 1.
    """

    size: int
    stride: int | None = None
    edge: Edge = "drop"

    def __post_init__(self) -> None:
        if self.size < 1 or (self.stride is not None and self.stride < 1):
            raise BadRequest(f"{self}: wanted a size and a stride from 1")
        if self.edge not in get_args(Edge):
            raise BadRequest(f"{self}: wanted edge 'drop' or 'shift'")

    def begins(self, length: int) -> tuple[int, ...]:
        """The positions at which windows of an axis of `length` begin. Empty: none fits."""
        last = length - self.size
        found = [*range(0, last + 1, self.stride or self.size)]
        if self.edge == "shift" and found and found[-1] < last:
            found.append(last)
        return tuple(found)


@dataclass(frozen=True)
class Tiling:
    """Where tiles begin, by dimension, the slowest first. Sample s is tile ``s % count`` of row ``s // count``."""

    begins: Mapping[str, tuple[int, ...]]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(begins) for begins in self.begins.values())

    @property
    def count(self) -> int:
        """Tiles of a row; 1 where nothing is tiled."""
        return prod(self.shape)

    def rows(self, samples: Numbers) -> Numbers:
        return samples // self.count

    def place(self, part: Part, samples: Numbers, corners: Numbers) -> None:
        """Overwrite, of where the windows of `part` begin, (sample, window), those along tiled dimensions."""
        if not self.begins:
            return
        where = dict(zip(self.begins, np.unravel_index(samples % self.count, self.shape), strict=True))
        for window, axis in enumerate(sorted(part.drawn)):
            dimension = part.array.dimensions[1 + axis]
            if dimension in where:
                corners[:, window] = np.array(self.begins[dimension])[where[dimension]]


def tiling_of(parts: Iterable[Part], crop: Mapping[str, object]) -> Tiling:
    """What the `Tiles` of `crop` make of the rows of `parts`, all alike.

    Raises BadRequest: no part has a dimension that is tiled, or two have it in different lengths.
    """
    lengths: dict[str, set[int]] = {}
    for part in parts:
        for dimension, size in zip(part.array.dimensions[1:], part.array.row_shape, strict=True):
            lengths.setdefault(dimension, set()).add(size)
    begins = {}
    for dimension, tiles in crop.items():
        if isinstance(tiles, Tiles):
            found = sorted(lengths.get(dimension, ()))
            if len(found) != 1:
                raise BadRequest(
                    f"crop: {dimension}={tiles}: tensors of the batch have {dimension!r} in {len(found)} lengths "
                    f"{found}, wanted one"
                )
            begins[dimension] = tiles.begins(found[0])
    return Tiling(begins)

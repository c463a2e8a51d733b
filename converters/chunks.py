"""The inner chunks of one shard, in the order of its index."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.store import StackedArray


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Rows of the array from `row` on, of the variables from `piece` times the chunk's width on.

    Shape of `values`: (sample, variable, *rest), C-contiguous.
    """

    array: StackedArray
    row: int
    piece: int
    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """As a reader wants it: without a sample axis where every chunk is one sample."""
        return self.values.shape[1:] if self.array.rows_per_chunk == 1 else self.values.shape

    @property
    def variables(self) -> tuple[str, ...]:
        first = self.piece * self.array.chunk[1]
        return self.array.variables[first : first + self.values.shape[1]]


def chunks(array: StackedArray, shard: int, block: NDArray[Any]) -> Iterator[Chunk]:
    """The chunks of `block` (sample, variable, *rest), the rows of `shard`: rows first, then pieces."""
    rows, width = array.chunk
    start = array.rows_of(shard).start
    for first in range(0, len(block), rows):
        part = block[first : first + rows]
        if len(part) < (wanted := array.rows_stored((start + first) // rows)):
            padded = np.full((wanted, *array.row_shape), array.fill_value, array.dtype)
            padded[: len(part)] = part
            part = padded
        for piece in range(array.pieces):
            values = np.ascontiguousarray(part[:, piece * width : (piece + 1) * width])
            yield Chunk(array, start + first, piece, values)

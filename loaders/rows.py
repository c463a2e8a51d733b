"""Rows of one array, put straight into the caller's batch, whatever they are read from.

    one row a block      every row is read or decoded to its place in the batch
    many rows a block    every block that the batch touches is decoded once, then its rows are gathered

What is wanted twice in a batch, at another step of another sample or as another tensor, is read once.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.ledger import Work
from maelio.loaders.ahead import Range
from maelio.loaders.cache import BlockCache
from maelio.loaders.parts import Part, Piece
from maelio.loaders.reading import Reading
from maelio.store import StackedArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """Fill ``out[i]`` with a part of row ``rows[i]``, its windows beginning at ``corners[i]``.

    Shape: rows (n,); out (n, *part.shape), C-contiguous, of the array's dtype; corners (n, window).
    `finish` is called for the rows of `out` from `first` to `last` once they are filled, in the same thread.
    """

    rows: NDArray[np.int64]
    out: Array
    corners: NDArray[np.int64] | None = None
    finish: Callable[[int, int], None] | None = None


class Rows:
    """The reader of one array: what batches ask for, put together from blocks of `rows` rows.

    Where a block comes from is `_fill`'s to know. Several threads may read at the same time.
    """

    def __init__(self, array: StackedArray, parts: Sequence[Part], rows: int, cached_blocks: int) -> None:
        self.array = array
        self.parts = parts
        self.rows = rows
        self._blocks = self._cache(cached_blocks) if rows > 1 else None

    def read(
        self,
        asks: Sequence[Ask],
        share: int = 0,
        shares: int = 1,
        stop: threading.Event | None = None,
        epoch: int = 0,
    ) -> Work:
        """Do one of `shares` equal shares of what is asked of every part, and tell what it took.

        Raises:
            IndexError: a row lies outside the array.
            BadData: a chunk cannot be read or decoded, or has not its checksum; names the shard, the chunk, its
                rows and its byte.
            Stopped: `stop` was set meanwhile.
        """
        reading = Reading(threading.Event() if stop is None else stop, epoch)
        for ask in asks:
            outside = (ask.rows < 0) | (ask.rows >= self.array.samples)
            if outside.any():
                raise IndexError(
                    f"row {ask.rows[outside][0]} of array {self.array.name!r}, which has {self.array.samples} rows"
                )
        if self._blocks is None:
            self._read_rows(asks, share, shares, reading)
        else:
            self._gather(self._blocks, asks, share, shares, reading)
        return reading.work()

    def coming(self, rows: NDArray[np.int64]) -> list[Range]:
        """The bytes that all parts of these rows take, as far as they are known, and not held decoded."""
        return []

    def _read_rows(self, asks: Sequence[Ask], share: int, shares: int, reading: Reading) -> None:
        """One row a chunk: every row that is asked for is read once."""
        wanted = np.concatenate([ask.rows for ask in asks])
        which = np.repeat(np.arange(len(asks)), [len(ask.rows) for ask in asks])
        place = np.concatenate([np.arange(len(ask.rows)) for ask in asks])
        rows, first, count = np.unique(wanted, return_index=True, return_counts=True)
        by_row = np.argsort(wanted, kind="stable") if len(rows) < len(wanted) else first
        ends = np.cumsum(count)
        for number in range(len(rows) * share // shares, len(rows) * (share + 1) // shares):
            takers, finishes = [], []
            for taker in by_row[ends[number] - count[number] : ends[number]].tolist():
                ask, part, position = asks[which[taker]], self.parts[which[taker]], int(place[taker])
                takers.append((_pieces(part, ask, position), ask.out[position : position + 1]))
                if ask.finish is not None:
                    finishes.append((ask.finish, position))
            self._fill(int(rows[number]), takers, reading)
            reading.delivered_bytes += sum(out.nbytes for _, out in takers)
            for finish, position in finishes:
                with reading.transforming:
                    finish(position, position + 1)

    def _gather(
        self, blocks: BlockCache, asks: Sequence[Ask], share: int, shares: int, reading: Reading
    ) -> None:
        def decode(number: int, parts: list[Array]) -> None:
            takers = [(part.pieces, block) for part, block in zip(self.parts, parts, strict=True)]
            self._fill(number, takers, reading)

        for number, (ask, part) in enumerate(zip(asks, self.parts, strict=True)):
            first, last = (len(ask.rows) * n // shares for n in (share, share + 1))
            out = ask.out[first:last]
            blocks.gather(number, ask.rows[first:last], out, decode, _window(part, ask, first))
            reading.delivered_bytes += out.nbytes
            if ask.finish is not None:
                with reading.transforming:
                    ask.finish(first, last)

    def _fill(self, number: int, takers: Sequence[tuple[Sequence[Piece], Array]], reading: Reading) -> None:
        """Fill what every taker wants of the block `number`. Shape of each: (rows of a block, *held)."""
        raise NotImplementedError

    def _cache(self, slots: int) -> BlockCache:
        return BlockCache(
            slots,
            blocks=ceil(self.array.samples / self.rows),
            rows=self.rows,
            shapes=[part.held for part in self.parts],
            dtype=self.array.dtype,
        )


def _pieces(part: Part, ask: Ask, position: int) -> tuple[Piece, ...]:
    return part.pieces if ask.corners is None else part.pieces_at(ask.corners[position].tolist())


def _window(part: Part, ask: Ask, first: int) -> Callable[[int], tuple[slice, ...]] | None:
    if ask.corners is None:
        return None
    corners = ask.corners[first:]
    return lambda position: part.window(corners[position].tolist())

"""Rows of one stacked array, read from its shards straight into the caller's batch.

    one row a chunk      every inner chunk is read or decoded to its place in the batch
    many rows a chunk    every chunk that the batch touches is decoded once, then its rows are gathered

No Zarr library and no Python object per value take part; an index lookup is arithmetic on the row number.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadData
from maelio.ledger import Work
from maelio.loaders.cache import BlockCache
from maelio.loaders.shardfile import ShardFile, allow_open_files
from maelio.store import Store


class Shards:
    """The reader of the array `name`. Opens every shard once; several threads may read at the same time.

    `cached_chunks` decoded chunks are held where a chunk has many rows.

    Raises:
        BadData: a shard is missing, not as long as the store says, or its index is damaged.
        NotPermitted: a shard may not be read.
    """

    def __init__(self, store: Store, name: str, *, cached_chunks: int = 1) -> None:
        self.array = store.arrays[name]
        self._raw = self.array.codec.name == "none"
        self._files = self._open(store)
        self._chunk_rows_per_file = self.array.rows_per_shard // self.array.rows_per_chunk
        index = np.concatenate([file.index for file in self._files])
        self._index = index.reshape(-1, self.array.pieces, 2)
        self._blocks = self._cache(cached_chunks) if self.array.rows_per_chunk > 1 else None

    def read(self, rows: NDArray[np.int64], out: NDArray[Any]) -> Work:
        """Fill ``out[i]`` with row ``rows[i]``, and tell what it took.

        Shape: rows (n,); out (n, variable, *rest), C-contiguous, of the array's dtype.

        Raises:
            IndexError: a row lies outside the array.
            BadData: a chunk cannot be read or decoded; names the shard and the chunk.
        """
        tally = _Tally()
        outside = (rows < 0) | (rows >= self.array.samples)
        if outside.any():
            raise IndexError(
                f"row {rows[outside][0]} of array {self.array.name!r}, which has {self.array.samples} rows"
            )
        if self._blocks is None:
            for position, row in enumerate(rows.tolist()):
                self._fill(row, out[position : position + 1], tally)
        else:
            self._blocks.gather(rows, out, lambda number, block: self._fill(number, block, tally))
        return tally.work(delivered_bytes=out.nbytes)

    def _open(self, store: Store) -> list[ShardFile]:
        shards = store.contents.stacks[self.array.name].shards
        if len(shards) != self.array.shards:
            raise BadData(
                f"{store.path}: {self.array.name!r} lists {len(shards)} shards, wanted {self.array.shards}"
            )
        allow_open_files(len(shards))
        return [
            ShardFile(
                store.path / self.array.shard_key(number),
                chunks=self.array.chunks_per_shard,
                nbytes=shard.bytes,
                mapped=not self._raw,
                beside=store.path / key if (key := self.array.index_key(number)) else None,
            )
            for number, shard in enumerate(shards)
        ]

    def _cache(self, slots: int) -> BlockCache:
        return BlockCache(
            slots,
            blocks=len(self._index),
            shape=(self.array.rows_per_chunk, *self.array.row_shape),
            dtype=self.array.dtype,
        )

    def _fill(self, number: int, out: NDArray[Any], tally: "_Tally") -> None:
        """Fill `out` with the chunk row `number`. Shape: (rows of a chunk, variable, *rest)."""
        file = self._files[number // self._chunk_rows_per_file]
        stored = (self.array.rows_stored(number), *self.array.chunk_shape[1:])
        rows, width = stored[:2]
        for piece, (offset, length) in enumerate(self._index[number].tolist()):
            part = out[:rows, piece * width : (piece + 1) * width]
            if offset < 0:
                part[...] = self.array.fill_value
                continue
            try:
                if part.shape == stored and part.flags.c_contiguous:
                    self._load(file, offset, length, part, tally)
                else:
                    whole = np.empty(stored, self.array.dtype)
                    self._load(file, offset, length, whole, tally)
                    part[...] = whole[:, : part.shape[1]]
            except BadData as error:
                raise BadData(f"{file.path}, chunk {number} of array {self.array.name!r}: {error}") from error

    def _load(self, file: ShardFile, offset: int, length: int, out: NDArray[Any], tally: "_Tally") -> None:
        """Fill `out`, C-contiguous, with one inner chunk."""
        tally.stored_bytes += length
        if self._raw:
            if length != out.nbytes:
                raise BadData(f"holds {length} bytes, wanted {out.nbytes}")
            with tally.fetching():
                file.read_into(offset, out.reshape(-1).view(np.uint8).data)
            return
        with tally.fetching():
            stored = file.fetch(offset, length)
        with tally.decoding():
            self.array.codec.decode(stored, out)


@dataclass(slots=True)
class _Tally:
    """What one call does, counted as it goes."""

    fetch_ns: int = 0
    decode_ns: int = 0
    stored_bytes: int = 0

    @contextmanager
    def fetching(self) -> Iterator[None]:
        start = time.perf_counter_ns()
        yield
        self.fetch_ns += time.perf_counter_ns() - start

    @contextmanager
    def decoding(self) -> Iterator[None]:
        start = time.perf_counter_ns()
        yield
        self.decode_ns += time.perf_counter_ns() - start

    def work(self, *, delivered_bytes: int) -> Work:
        return Work(
            fetch_s=self.fetch_ns / 1e9,
            decode_s=self.decode_ns / 1e9,
            stored_bytes=self.stored_bytes,
            delivered_bytes=delivered_bytes,
        )


def together(works: Iterable[Work]) -> Work:
    """The sum, field by field."""
    parts = list(works)
    return Work(**{name: sum(getattr(part, name) for part in parts) for name in Work.model_fields})

"""The shard files of one array: where their chunks lie, and the files, opened when they are read.

A store keeps the places of all its chunks in one table, so that a first batch takes the files that it reads and the
sizes of the others, whatever their number. Stores of earlier maelios have no table: every index is read there.
"""

import os
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maelio.chunktable import read_table
from maelio.errors import BadData, NotPermitted
from maelio.loaders.shardfile import (
    PATIENCE,
    Patience,
    ShardFile,
    allow_open_files,
    index_beside,
    index_within,
)
from maelio.store import Shard, Store

OPEN_FILES = 1024
_AT_ONCE = 256  # files that one thread asks the sizes of: where a file system is slow, eight threads ask
_ASKING = 8


class ShardFiles:
    """The shards of the array `name`, of which the `most` opened last are held open. Safe to use from many threads.

    `places`: shape (shard, chunk, 2), int64: offset and length in bytes, -1 twice where there is no chunk.
    `checksums`: shape (shard, chunk), uint32: CRC-32C of the chunks; None where the store has none.

    Raises:
        BadData: a shard is missing, not as long as the store says, or the places of its chunks are damaged.
        NotPermitted: the places may not be read.
    """

    def __init__(
        self, store: Store, name: str, *, patience: Patience = PATIENCE, most: int = OPEN_FILES
    ) -> None:
        array, shards = store.arrays[name], store.contents.stacks[name].shards
        if len(shards) != array.shards:
            raise BadData(f"{store.path}: {name!r} lists {len(shards)} shards, wanted {array.shards}")
        self._paths = [f"{store.path}/{array.shard_key(number)}" for number in range(len(shards))]
        self._shards = shards
        self._patience = patience
        _expect_sizes(self._paths, shards)
        table = read_table(store, name)
        self.places = self._indexes(store, name) if table is None else table.places
        self.checksums = None if table is None else table.checksums
        self._most = allow_open_files(min(most, len(shards)))
        self._open: list[ShardFile | None] = [None] * len(shards)
        self._opened: deque[int] = deque()
        self._lock = threading.Lock()

    def __getitem__(self, number: int) -> ShardFile:
        """Open as long as somebody holds it. Raises BadData, NotPermitted: it cannot be opened any more."""
        return self._open[number] or self._opened_now(number)

    def ask(self, shard: int, offset: int, length: int) -> None:
        """As of `ShardFile`; where a shard cannot be opened, whoever reads it is told so."""
        with suppress(BadData, NotPermitted):
            self[shard].ask(offset, length)

    def _opened_now(self, number: int) -> ShardFile:
        file = ShardFile(
            Path(self._paths[number]),
            nbytes=self._shards[number].bytes,
            mapped=True,
            patience=self._patience,
        )
        with self._lock:
            if (there := self._open[number]) is not None:
                return there
            if len(self._opened) == self._most:
                self._open[self._opened.popleft()] = None
            self._opened.append(number)
            self._open[number] = file
        return file

    def _indexes(self, store: Store, name: str) -> NDArray[np.int64]:
        """Of a store without a table, shard by shard."""
        array = store.arrays[name]
        found = []
        for number, (path, shard) in enumerate(zip(self._paths, self._shards, strict=True)):
            chunks, key = array.chunks_per_shard, array.index_key(number)
            if key is None:
                index = index_within(Path(path), chunks=chunks, nbytes=shard.bytes, patience=self._patience)
            else:
                index = index_beside(store.path / key, chunks=chunks, nbytes=shard.bytes)
            found.append(index)
        return np.stack(found)


def _expect_sizes(paths: Sequence[str], shards: Sequence[Shard]) -> None:
    """Raises BadData: a shard is missing, or not as long as the store says."""

    def expect(start: int) -> None:
        for number in range(start, min(start + _AT_ONCE, len(paths))):
            try:
                found = os.stat(paths[number]).st_size
            except (FileNotFoundError, NotADirectoryError) as error:
                raise BadData(f"{paths[number]} is missing") from error
            if found != shards[number].bytes:
                raise BadData(f"{paths[number]} has {found} bytes, wanted {shards[number].bytes}")

    with ThreadPoolExecutor(_ASKING, "maelio-sizes") as pool:
        list(pool.map(expect, range(0, len(paths), _AT_ONCE)))

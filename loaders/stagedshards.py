"""The shards of one array that are opened when they have come, and closed before they go."""

import threading
from collections.abc import Callable

import numpy as np

from maelio.chunktable import read_table
from maelio.errors import BadData
from maelio.loaders.shardfile import Patience, ShardFile, index_beside, index_within
from maelio.store import Store

Bring = Callable[[int, threading.Event], None]


class StagedShards:
    """The shards of the array `name`. `bring` waits until the files of one are there.

    `places` and `checksums` as of `ShardFiles`; where the store has no table of chunks, the places in a shard are known
    once it was got.

    Raises BadData, NotPermitted: the table of the chunks cannot be read.
    """

    def __init__(self, store: Store, name: str, *, patience: Patience, bring: Bring) -> None:
        self._store = store
        self._array, self._shards = store.arrays[name], store.contents.stacks[name].shards
        self._patience = patience
        self._bring = bring
        table = read_table(store, name)
        self._has_table = table is not None
        shape = len(self._shards), self._array.chunks_per_shard, 2
        self.places = np.full(shape, -1) if table is None else table.places
        self.checksums = None if table is None else table.checksums
        self._opened: dict[int, ShardFile] = {}
        self._alone = threading.Lock()

    def __getitem__(self, number: int) -> ShardFile:
        """Raises KeyError: it has not come."""
        return self._opened[number]

    def get(self, shard: int, stop: threading.Event) -> ShardFile:
        """Raises Stopped: `stop` was set meanwhile; what `bring` raises; BadData, NotPermitted: it cannot be opened."""
        while (found := self._opened.get(shard)) is None:
            self._bring(shard, stop)
            with self._alone:
                if shard not in self._opened:
                    try:
                        self._opened[shard] = self._open(shard)
                    except BadData as error:
                        if not isinstance(error.__cause__, FileNotFoundError):
                            raise
                        # another process had more need of its room, between the two calls
        return found

    def ask(self, shard: int, offset: int, length: int) -> None:
        """As of `ShardFile`, where the shard is open; what just came is in memory anyway."""
        if (file := self._opened.get(shard)) is not None:
            file.ask(offset, length)

    def forget(self, shard: int) -> None:
        """Whoever reads it goes on to do so; then it is closed."""
        self._opened.pop(shard, None)

    def _open(self, number: int) -> ShardFile:
        path, nbytes = self._store.path / self._array.shard_key(number), self._shards[number].bytes
        if not self._has_table:
            chunks, key = self._array.chunks_per_shard, self._array.index_key(number)
            self.places[number] = (
                index_within(path, chunks=chunks, nbytes=nbytes, patience=self._patience)
                if key is None
                else index_beside(self._store.path / key, chunks=chunks, nbytes=nbytes)
            )
        return ShardFile(path, nbytes=nbytes, mapped=True, patience=self._patience)

"""The shards of one array that are opened when they have come, and closed before they go."""

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadData
from maelio.loaders.shardfile import ShardFile

Opened = tuple[ShardFile, NDArray[np.int64]]


class StagedShards:
    """`bring` waits until the files of a shard are there; `opened` opens them, and reads the index."""

    def __init__(
        self, bring: Callable[[int, threading.Event], None], opened: Callable[[int], Opened]
    ) -> None:
        self._bring = bring
        self._open = opened
        self._opened: dict[int, Opened] = {}
        self._alone = threading.Lock()

    def get(self, shard: int, stop: threading.Event) -> Opened:
        """Raises Stopped: `stop` was set meanwhile; else what `bring` and `opened` raise."""
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

    def forget(self, shard: int) -> None:
        """Whoever reads it goes on to do so; then it is closed."""
        self._opened.pop(shard, None)

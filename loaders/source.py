"""The open arrays of a store and the memory of their batches, in one process."""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maelio.ledger import Work
from maelio.loaders.items import Item
from maelio.loaders.parts import corners
from maelio.loaders.ring import Ring
from maelio.loaders.shards import Ask, Shards, together
from maelio.store import Store

Batch = dict[str, torch.Tensor]
Numbers = NDArray[np.int64]


class Source:
    """Reads batches of at most `samples` samples of `items`; sample i is row ``i + first`` at step 0."""

    def __init__(
        self,
        store: Store,
        items: Sequence[Item],
        *,
        samples: int,
        first: int,
        threads: int,
        depth: int,
        cached_chunks: int,
    ) -> None:
        self.process = os.getpid()
        self.threads = threads
        self.items: dict[str, list[Item]] = {}
        for item in items:
            self.items.setdefault(item.part.array.name, []).append(item)
        self.shards = {
            name: Shards(store, name, parts=[item.part for item in of_array], cached_chunks=cached_chunks)
            for name, of_array in self.items.items()
        }
        self.names = [item.name for item in items]
        self._first = first
        self._rings = {item.name: Ring(samples * item.sample_bytes, depth=depth) for item in items}

    def load(self, samples: Numbers, pool: ThreadPoolExecutor, *, seed: int, epoch: int) -> "Loading":
        """Begin to read a batch, in equal shares by all threads."""
        asks = {
            name: [self._ask(item, samples, seed, epoch) for item in of_array]
            for name, of_array in self.items.items()
        }
        loading = Loading(self, asks)
        loading.shares = [pool.submit(loading.read, share) for share in range(self.threads)]
        return loading

    def _ask(self, item: Item, samples: Numbers, seed: int, epoch: int) -> Ask:
        steps = np.array(item.steps)
        rows = (samples[:, None] + steps + self._first).ravel()
        nbytes = len(samples) * item.sample_bytes
        out = self._rings[item.name].take()[:nbytes].view(item.part.array.dtype)
        drawn = corners(samples, seed=seed, epoch=epoch, room=item.part.room) if item.part.drawn else None
        return Ask(
            rows,
            out.reshape(len(rows), *item.part.shape),
            None if drawn is None else drawn.repeat(len(steps), axis=0),
        )


class Loading:
    """A batch on its way."""

    def __init__(self, source: Source, asks: dict[str, list[Ask]]) -> None:
        self.shares: list[Future[Work]] = []
        self._source = source
        self._asks = asks

    def read(self, share: int) -> Work:
        shards = self._source.shards
        return together(
            shards[name].read(asks, share, self._source.threads) for name, asks in self._asks.items()
        )

    def result(self) -> tuple[Batch, Work]:
        """Wait for the batch, and let go of it: threads may hold this object a little longer."""
        work = together([share.result() for share in self.shares])
        batch = {
            item.name: torch.from_numpy(_shaped(ask.out, item))
            for name, items in self._source.items.items()
            for item, ask in zip(items, self._asks[name], strict=True)
        }
        self._asks.clear()
        return {name: batch[name] for name in self._source.names}, work


def _shaped(out: NDArray[Any], item: Item) -> NDArray[Any]:
    return out.reshape(-1, *item.shape)

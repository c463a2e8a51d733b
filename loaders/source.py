"""The open arrays of a store and the memory of their batches, in one process."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maelio.ledger import Work, spent_on
from maelio.loaders.ahead import Disk, Range
from maelio.loaders.checks import Verify
from maelio.loaders.device import Batch, Copies, Sent, pinned
from maelio.loaders.inplace import open_rows
from maelio.loaders.items import Item
from maelio.loaders.needs import Needs, files_of, needs
from maelio.loaders.parts import Part, corners
from maelio.loaders.reading import together
from maelio.loaders.ring import Ring
from maelio.loaders.rows import Ask
from maelio.loaders.shardfile import Patience
from maelio.loaders.shards import Shards
from maelio.loaders.stage import Stage
from maelio.loaders.staging import Staging
from maelio.loaders.tiles import Tiling
from maelio.loaders.values import Finish
from maelio.store import Store

Numbers = NDArray[np.int64]


class Source:
    """Reads batches of at most `samples` samples of `items`; sample i is row ``i + first`` at step 0.

    With `staging`, `store` has its metadata alone, and shards come to it from there while `stage` is started.
    With a `tiling`, sample i is a tile of row ``tiling.rows(i) + first``.
    `finishes` are by the name of the tensor. With `masks`, `NAME.missing` is true where a value is missing.
    """

    def __init__(
        self,
        store: Store,
        items: Sequence[Item],
        *,
        finishes: Mapping[str, Finish],
        masks: bool,
        samples: int,
        first: int,
        tiling: Tiling,
        threads: int,
        depth: int,
        cached_chunks: int,
        patience: Patience,
        verify: Verify,
        device: torch.device,
        staging: Staging | None = None,
    ) -> None:
        self.process = os.getpid()
        self.threads = threads
        self.items = items
        parts: dict[str, list[Part]] = {}
        for item in items:
            parts.setdefault(item.part.array.name, []).append(item.part)
        self.stage = None
        if staging is not None:
            self._files = files_of(store, parts)
            self.stage = Stage(
                staging, self._files, store.path, retries=patience.retries, forget=self._forget
            )
        self.shards = {
            name: open_rows(
                store,
                name,
                of_array,
                cached_chunks,
                patience,
                verify,
                None if self.stage is None else partial(self.stage.bring, name),
            )
            for name, of_array in parts.items()
        }
        self.disk = Disk()
        self._first = first
        self._tiling = tiling
        self._finishes = finishes
        self.copies = None if device.type == "cpu" else Copies(device)
        allocate = pinned if device.type == "cuda" else None
        self._rings = {item.name: Ring(samples * item.sample_bytes, depth, allocate) for item in items}
        self._masks = {
            item.name: Ring(samples * item.sample_values, depth, allocate) for item in items if masks
        }

    def needs(self, batches: Sequence[Numbers]) -> Needs:
        """Which files batches of these samples need."""
        rows = [self._tiling.rows(samples) for samples in batches]
        return needs(self._files, self.items, rows, first=self._first)

    def coming(self, samples: Numbers) -> list[Range]:
        """The bytes that a batch of these samples takes."""
        rows: dict[str, list[Numbers]] = {}
        for item in self.items:
            rows.setdefault(item.part.array.name, []).append(self._rows(item, samples))
        return [each for name, of in rows.items() for each in self.shards[name].coming(np.concatenate(of))]

    def load(
        self, samples: Numbers, pool: ThreadPoolExecutor, stop: threading.Event, *, seed: int, epoch: int
    ) -> "Loading":
        """Begin to read a batch, in equal shares by all threads, until `stop` is set."""
        loading = Loading(self, stop, epoch)
        for item in self.items:
            ask = self._ask(item, samples, seed, epoch, loading.arrays)
            loading.asks.setdefault(item.part.array.name, []).append(ask)
        loading.shares = [pool.submit(loading.read, share) for share in range(self.threads)]
        return loading

    def _forget(self, file: int) -> None:
        gone = self._files.files[file]
        rows = self.shards[gone.array]
        if isinstance(rows, Shards):
            rows.forget(gone.shard)

    def _ask(
        self, item: Item, samples: Numbers, seed: int, epoch: int, arrays: dict[str, NDArray[Any]]
    ) -> Ask:
        """What to read for one tensor, and the memory that becomes it: put into `arrays`."""
        rows = self._rows(item, samples)
        shape = len(rows), *item.part.shape
        nbytes = len(samples) * item.sample_bytes
        out = self._rings[item.name].take()[:nbytes].view(item.part.array.dtype).reshape(shape)
        arrays[item.name] = out.reshape(len(samples), *item.shape)
        mask = None
        if item.name in self._masks:
            count = len(samples) * item.sample_values
            mask = self._masks[item.name].take()[:count].view(np.bool_).reshape(shape)
            arrays[f"{item.name}.missing"] = mask.reshape(len(samples), *item.shape)
        corner = None
        if item.part.drawn:
            drawn = corners(samples, seed=seed, epoch=epoch, room=item.part.room)
            self._tiling.place(item.part, samples, drawn)
            corner = drawn.repeat(len(item.steps), axis=0)
        finish = self._finishes.get(item.name)
        return Ask(rows, out, corner, None if finish is None else _of_rows(finish, out, mask))

    def _rows(self, item: Item, samples: Numbers) -> Numbers:
        """Of each sample the rows at all steps. Shape: (sample * step,)."""
        rows: Numbers = self._tiling.rows(samples)[:, None] + np.array(item.steps) + self._first
        return rows.ravel()


class Loading:
    """A batch on its way."""

    def __init__(self, source: Source, stop: threading.Event, epoch: int) -> None:
        self.shares: list[Future[Work]] = []
        self.asks: dict[str, list[Ask]] = {}
        self.arrays: dict[str, NDArray[Any]] = {}
        self._shards = source.shards
        self._threads = source.threads
        self._copies = source.copies
        self._sent: Sent | None = None
        self._stop = stop
        self._epoch = epoch

    def read(self, share: int) -> Work:
        return together(
            self._shards[name].read(asks, share, self._threads, self._stop, self._epoch)
            for name, asks in self.asks.items()
        )

    def send(self) -> None:
        """Begin to copy the batch to the device, where that is another one and all of it has been read."""
        if self._copies is None or self._sent is not None or not all(share.done() for share in self.shares):
            return
        if not any(share.exception() for share in self.shares):
            self._sent = self._copies.send(self._read())

    def result(self) -> tuple[Batch, Work]:
        """Wait for the batch, and let go of it: threads may hold this object a little longer."""
        work = together([share.result() for share in self.shares])
        if self._copies is None:
            return self._read(), work
        with spent_on("h2d"):
            self.send()
            batch = self._read() if self._sent is None else self._sent.arrive()
        self._sent = None
        return batch, work

    def _read(self) -> Batch:
        batch = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        self.asks.clear()
        self.arrays.clear()
        return batch


def _of_rows(finish: Finish, out: NDArray[Any], mask: NDArray[np.bool_] | None) -> Callable[[int, int], None]:
    return lambda first, last: finish(out[first:last], None if mask is None else mask[first:last])

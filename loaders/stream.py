"""A store as a torch dataset: batches in a reproducible order, read ahead by threads of this process.

    for batch in maelio.stream("store.zarr", batch_size=32):
        batch["fields"]                       # (sample, variable, latitude, longitude)

The order is a function of (seed, epoch); the state of a run is a position in it, and resumes with another
number of ranks, threads or samples in a batch.
"""

import os
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from maelio.errors import BadRequest
from maelio.ledger import Work
from maelio.loaders.budget import Buffers, plan_buffers
from maelio.loaders.order import Cut, Place, Shuffle, Tail, epoch_order
from maelio.loaders.ring import Ring
from maelio.loaders.shards import Shards, together
from maelio.settings import load_settings
from maelio.store import Statistics, Store, open_store

Batch = dict[str, torch.Tensor]
_THREAD = "maelio-stream"


def stream(
    store: str | Path | Store,
    *,
    batch_size: int,
    shuffle: bool | Shuffle = True,
    seed: int = 0,
    window: Sequence[int] = (0,),
    tail: Tail = "short",
    threads: int | None = None,
    memory: int | None = None,
    rank: int | None = None,
    world: int | None = None,
) -> "Stream":
    """Stream the batches of a converted store.

    Args:
        batch_size: samples of a batch over all ranks together.
        shuffle: `global` permutes all samples, `window` those of a few random chunks at a time; True takes
            `window` where chunks hold many rows. See `epoch_order`.
        window: steps of a sample, relative to its row: (-1, 0, 1) is the row before, the row, the row after.
        tail: a last batch that is not full is `short`, or `drop`ped. See `Cut`.
        threads: that read and decode; those of the settings by default.
        memory: bytes that batches and decoded chunks may take; by default three batches and, where chunks
            hold many rows, the chunks of two shuffle windows. Batches that the caller keeps come on top.
        rank, world: this process among all that train; those of torch.distributed by default.

    Raises:
        BadRequest: arguments that do not fit each other or the store.
        NotFound, NotPermitted, BadData: the store cannot be opened.
    """
    if not isinstance(store, Store):
        store = open_store(store)
    steps = _checked_window(window, store)
    if shuffle is True:
        blocks = any(array.rows_per_chunk > 1 for array in store.arrays.values())
        shuffle = "window" if blocks else "global"
    if threads is None:
        threads = load_settings().threads
    if threads < 1:
        raise BadRequest(f"threads={threads}; wanted 1 or more")
    before, after = max(0, -min(steps)), max(0, max(steps))
    cut = Cut(store.samples - before - after, batch_size, _place(rank, world), tail)
    if not len(cut):
        raise BadRequest(
            f"batch_size={batch_size} with tail={tail!r} on {cut.place.world} ranks "
            f"leaves no batch of {cut.samples} samples"
        )
    buffers = plan_buffers(store.arrays.values(), rows=cut.rows * len(steps), threads=threads, memory=memory)
    return Stream(store, cut=cut, shuffle=shuffle, seed=seed, window=steps, threads=threads, buffers=buffers)


@dataclass(frozen=True, slots=True)
class Position:
    """Between two batches: `samples` of the epoch are delivered, over all ranks together."""

    epoch: int
    samples: int


class Stream(IterableDataset[Batch]):
    """Batches {array: tensor}, sample axis first. Made by `stream`.

    Shape: (sample, variable, *rest); with more than one step in `window`, (sample, step, variable, *rest).

    A batch is the caller's as long as any tensor of it lives; its memory is used again after that. Each
    `iter()` begins the next epoch, unless `set_epoch` names another. In worker processes of a DataLoader,
    which hold copies, call `set_epoch` before each epoch; position and `work` then stay with the workers.
    """

    def __init__(
        self,
        store: Store,
        *,
        cut: Cut,
        shuffle: Shuffle,
        seed: int,
        window: tuple[int, ...],
        threads: int,
        buffers: Buffers,
    ) -> None:
        epoch_order(0, seed=seed, epoch=0, shuffle=shuffle)  # refuses what it does not know, here and now
        self.store = store
        self.cut = cut
        self.shuffle = shuffle
        self.seed = seed
        self.window = window
        self.threads = threads
        self.buffers = buffers
        self._at = self._next = Position(epoch=0, samples=0)
        self._work = Work()
        self._source: _Source | None = None

    @property
    def samples(self) -> int:
        """Samples of an epoch, over all ranks: rows for which all steps of the window exist."""
        return self.cut.samples

    @property
    def variables(self) -> dict[str, tuple[str, ...]]:
        """Of each array, the names along its variable axis."""
        return {name: array.variables for name, array in self.store.arrays.items()}

    @property
    def statistics(self) -> dict[str, dict[str, Statistics]]:
        """Of each array, the statistics of its variables."""
        return {name: stack.statistics for name, stack in self.store.contents.stacks.items()}

    @property
    def work(self) -> Work:
        """What reading the batches delivered so far took, in all threads together."""
        return self._work

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return len(self.cut)

    def __iter__(self) -> Iterator[Batch]:
        self._at = self._next
        self._next = Position(self._at.epoch + 1, samples=0)
        return self._batches(self._at)

    def set_epoch(self, epoch: int) -> None:
        """Let the next `iter()` begin `epoch`, where a loaded state stands in it, else at its first batch."""
        if epoch < 0:
            raise BadRequest(f"epoch={epoch}; wanted a number from 0")
        if epoch != self._next.epoch:
            self._at = self._next = Position(epoch, samples=0)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands: after the last batch it was given, whatever is read ahead."""
        return {**self._order_of(), "epoch": self._at.epoch, "samples": self._at.samples}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. Raises BadRequest: it belongs to another store or order."""
        for name, wanted in self._order_of().items():
            if (found := state.get(name)) != wanted:
                raise BadRequest(
                    f"the state has {name}={found!r}, the stream of {self.store.path} {wanted!r}"
                )
        self._at = self._next = Position(state["epoch"], state["samples"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}  # open files and buffers stay in their process

    def _order_of(self) -> dict[str, Any]:
        """What the order of an epoch depends on, in the types of JSON."""
        return {
            "store": self.store.digest,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "window": list(self.window),
        }

    def _batches(self, start: Position) -> Iterator[Batch]:
        cut = Cut(self.cut.samples, self.cut.batch_size, self.cut.place, self.cut.tail, start.samples)
        order = epoch_order(
            self.samples,
            seed=self.seed,
            epoch=start.epoch,
            shuffle=self.shuffle,
            rows_per_chunk=max(array.rows_per_chunk for array in self.store.arrays.values()),
        )
        numbers = iter(_numbers_of_worker(len(cut)))
        source = self._opened()
        loading: deque[tuple[int, _Loading]] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix=_THREAD)
        try:
            while True:
                while len(loading) < self.buffers.batches - 1 and (number := next(numbers, None)) is not None:
                    loading.append((number, source.load(order[cut.mine(number)], pool)))
                if not loading:
                    break
                yield self._delivered(start.epoch, cut, *loading.popleft())
        finally:
            # Garbage collection may close this in a thread of a pool, which must not wait for its like
            inside = threading.current_thread().name.startswith(_THREAD)
            pool.shutdown(wait=not inside, cancel_futures=True)
        self._at = self._next

    def _delivered(self, epoch: int, cut: Cut, number: int, loading: "_Loading") -> Batch:
        batch, work = loading.result()
        self._work = together([self._work, work])
        self._at = Position(epoch, cut.end(number))
        return batch

    def _opened(self) -> "_Source":
        if self._source is None or self._source.process != os.getpid():  # threads do not survive a fork
            self._source = _Source(self.store, self.window, self.cut.rows, self.threads, self.buffers)
        return self._source


class _Source:
    """The open arrays of a store and the memory of their batches, in one process."""

    def __init__(
        self, store: Store, window: tuple[int, ...], batch_rows: int, threads: int, buffers: Buffers
    ) -> None:
        self.process = os.getpid()
        self.threads = threads
        self.shards = {name: Shards(store, name, cached_chunks=buffers.chunks) for name in store.arrays}
        self._offsets = np.array(window) + max(0, -min(window))
        self._rings = {
            name: Ring(batch_rows * len(window) * array.row_bytes, depth=buffers.batches)
            for name, array in store.arrays.items()
        }

    def load(self, samples: NDArray[np.int64], pool: ThreadPoolExecutor) -> "_Loading":
        """Begin to read a batch, in equal parts by all threads."""
        rows = (samples[:, None] + self._offsets).ravel()
        loading = _Loading(self, rows, len(self._offsets))
        bounds = np.linspace(0, len(rows), self.threads + 1).astype(int).tolist()
        loading.parts = [
            pool.submit(loading.read, begin, end) for begin, end in pairwise(bounds) if begin < end
        ]
        return loading

    def take(self, name: str, rows: int) -> NDArray[Any]:
        """Memory for rows of array `name`. Shape: (rows, variable, *rest)."""
        array = self.shards[name].array
        return (
            self._rings[name].take()[: rows * array.row_bytes].view(array.dtype).reshape(-1, *array.row_shape)
        )


class _Loading:
    """A batch on its way."""

    def __init__(self, source: _Source, rows: NDArray[np.int64], steps: int) -> None:
        self.parts: list[Future[Work]] = []
        self._shards = source.shards
        self._rows = rows
        self._steps = steps
        self._arrays = {name: source.take(name, len(rows)) for name in source.shards}

    def read(self, begin: int, end: int) -> Work:
        """Fill the rows from `begin` to `end` of every array."""
        return together(
            shards.read(self._rows[begin:end], self._arrays[name][begin:end])
            for name, shards in self._shards.items()
        )

    def result(self) -> tuple[Batch, Work]:
        """Wait for the batch, and let go of it: threads may hold this object a little longer."""
        work = together([part.result() for part in self.parts])
        batch = {name: torch.from_numpy(self._stepped(array)) for name, array in self._arrays.items()}
        self._arrays.clear()
        return batch, work

    def _stepped(self, array: NDArray[Any]) -> NDArray[Any]:
        return array if self._steps == 1 else array.reshape(-1, self._steps, *array.shape[1:])


def _checked_window(window: Sequence[int], store: Store) -> tuple[int, ...]:
    steps = tuple(window)
    if not steps or len(set(steps)) < len(steps):
        raise BadRequest(f"window={steps}; wanted one step or more, each once")
    if steps != (0,) and len(store.sizes) > 1:
        raise BadRequest(
            f"window={steps}: samples of {store.path} are drawn along {', '.join(map(repr, store.sizes))}, "
            "where the next one is no later step; wanted (0,)"
        )
    if max(0, *steps) - min(0, *steps) >= store.samples:
        raise BadRequest(f"window={steps} is longer than the {store.samples} samples of {store.path}")
    return steps


def _place(rank: int | None, world: int | None) -> Place:
    if (rank is None) != (world is None):
        raise BadRequest(f"rank={rank}, world={world}; wanted both or neither")
    if rank is not None and world is not None:
        return Place(rank, world)
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return Place(distributed.get_rank(), distributed.get_world_size())
    return Place()


def _numbers_of_worker(batches: int) -> range:
    """The batches of this worker process: a DataLoader takes them in turn, so their order stays."""
    worker = get_worker_info()
    return range(batches) if worker is None else range(worker.id, batches, worker.num_workers)

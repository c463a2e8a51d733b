"""A store as a torch dataset: batches in a reproducible order, read ahead by threads of this process.

    for batch in maelio.stream("store.zarr", batch_size=32):
        batch["fields"]                       # (sample, variable, latitude, longitude)

The order is a function of (seed, epoch); the state of a run is a position in it, and resumes with another
number of ranks, threads or samples in a batch.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from maelio.errors import BadRequest
from maelio.ledger import Work, spent_on
from maelio.loaders.ahead import READ_AHEAD, ReadAhead
from maelio.loaders.budget import Buffers, plan_buffers
from maelio.loaders.checks import Verify, choose_verify
from maelio.loaders.device import Batch, device_of
from maelio.loaders.inplace import blocks_held, reading_bytes, rows_together
from maelio.loaders.items import Crop, Item, Levels, check_steps, choose, roles_of
from maelio.loaders.needs import check_room, files_of, rows_per_shard
from maelio.loaders.opening import opened
from maelio.loaders.order import Cut, Place, Shuffle, Tail, epoch_order
from maelio.loaders.reading import together
from maelio.loaders.shardfile import Patience
from maelio.loaders.shards import scratch_bytes
from maelio.loaders.source import Loading, Source
from maelio.loaders.staging import Staging, check_disk, open_staged
from maelio.loaders.tiles import Tiling, tiling_of
from maelio.loaders.values import Finish, Missing, fill_of, standardisers
from maelio.settings import load_settings
from maelio.store import Statistics, Store

Transform = Callable[[Batch], Batch]
_THREAD = "maelio-stream"


def stream(
    store: str | Path | Store | Sequence[str | Path],
    *,
    batch_size: int,
    samples: str | None = None,
    shuffle: bool | Shuffle = True,
    seed: int = 0,
    window: Sequence[int] = (0,),
    variables: Sequence[str] | None = None,
    levels: Levels | None = None,
    crop: Crop | None = None,
    inputs: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    input_steps: Sequence[int] | None = None,
    target_steps: Sequence[int] | None = None,
    standardise: bool | Collection[str] = False,
    missing: Missing = "keep",
    transform: Transform | None = None,
    tail: Tail = "short",
    threads: int | None = None,
    memory: int | None = None,
    read_ahead: int | None = None,
    retries: int = 3,
    verify: Verify | None = None,
    device: torch.device | str | None = None,
    numbers: bool = False,
    stage: str | Path | None = None,
    stage_bytes: int | None = None,
    stage_keep: bool = True,
    rank: int | None = None,
    world: int | None = None,
) -> "Stream":
    """Stream the batches of a converted store; or, slower, of what was never converted.

    Args:
        store: what `convert` wrote. Also a Zarr group, NetCDF and whatever else `convert` reads, and tar files
            in the way of WebDataset, as a path, a pattern ("*.nc", "{00..10}.tar") or several: see `opened`.
            A store behind a URL is staged on a local disk.
        batch_size: samples of a batch over all ranks together.
        samples: of what was not converted, the dimension or dimensions that samples are drawn from.
        shuffle: `global` permutes all samples, `window` those of a few random chunks at a time, `shards` those
            of a few random shards; True takes `window` where chunks hold many rows, and `shards` where
            `stage_bytes` do not hold the store. See `epoch_order`.
        window: steps of a sample, relative to its row: (-1, 0, 1) is the row before, the row, the row after.
        variables: the names that are delivered, in this order; all by default.
        levels: values of the vertical coordinate, or a slice of positions along it; all by default.
        crop: by dimension, a slice of positions, or the size of a window that stands elsewhere in every
            sample and epoch, at one place for all its variables and steps: {"x": slice(0, 90), "y": 64}. With
            `Tiles` a sample is one tile of a row, and an epoch has every tile of every row once.
        inputs, targets: names of variables. A batch is then {"inputs": tensor, "targets": tensor}, each of
            its own variables and steps; where those of one stand in several arrays, "inputs.ARRAY" of each.
            Left out, `inputs` are all `variables`, and so are `targets` where `target_steps` are given.
        input_steps, target_steps: as `window`, of inputs and targets; (0,) by default.
        standardise: subtract the mean and divide by the deviation that the store knows of every variable and
            level; True, or the names of variables. `Stream.destandardise` brings predictions back to units.
        missing: missing values are NaN with `keep`; a number takes their place; with `mask` that is 0, and
            a boolean tensor "NAME.missing" is true there. After standardising, 0 is the mean.
        transform: called with every whole batch, in the thread that asks for it, one after the other; what it
            returns is delivered. Its time is the ledger's region `transform`.
        tail: a last batch that is not full is `short`, or `drop`ped, or filled with the first samples of the
            epoch (`pad`); every batch then has a boolean tensor "valid", false for what fills. See `Cut`.
        threads: that read and decode; those of the settings by default.
        memory: bytes that batches and decoded chunks may take; by default three batches and, where chunks
            hold many rows, the chunks of two shuffle windows. Batches that the caller keeps come on top.
        read_ahead: bytes that are asked of the disk before the threads come to them, in the order of the epoch; 64 MiB
            by default. They lie in the page cache of the system, and are no part of `memory`. 0: none are.
        retries: how often a read that fails is tried again, after 0.1 s, 0.2 s and so on.
        verify: compare chunks with their checksums before they are used: `always` all, which are then read whole;
            with `sample` one of 64 of those that are read whole, others in every epoch, each once in 64 epochs;
            `never`. By default `sample`, where the store has checksums: those of earlier maelios have none.
        device: where batches are delivered. To CUDA they are copied from page-locked memory on a stream of
            their own, the next one while this one is computed with. Not in worker processes. (No machine of
            ours has CUDA: that part is tested where there is one, and has not been yet.)
        numbers: a batch also has the numbers of its samples, int64, as "sample": 0 up to below `Stream.samples`.
        stage: a folder on a fast local disk, to which whole shards are copied ahead of need: by default none for
            a path, and `stage` in the cache of the settings for a URL. Processes share it. See `Stage`.
        stage_bytes: the most bytes of that folder; by default whatever the store has.
        stage_keep: leave shards there for later runs; else what this process fetched goes when it ends.
        rank, world: this process among all that train; those of torch.distributed by default.

    Only what is delivered is read: arrays and chunks without any of it are not touched. Where a chunk holds
    more, it is decoded and cut; without codec, and with one row a chunk, only the bytes are read.

    Raises:
        BadRequest: arguments that do not fit each other or the store.
        NotFound, NotPermitted, BadData: the store cannot be opened. MaelioError: its server does not answer.
    """
    if retries < 0:
        raise BadRequest(f"retries={retries}; wanted 0 or more")
    if read_ahead is None:
        read_ahead = READ_AHEAD
    if read_ahead < 0:
        raise BadRequest(f"read_ahead={read_ahead}; wanted bytes, 0 or more")
    staging = None
    found = open_staged(store, stage, limit=stage_bytes, keep=stage_keep, retries=retries)
    if found is not None:
        if samples is not None:
            raise BadRequest(f"samples={samples!r}: it was chosen when the store was converted; leave it out")
        store, staging = found
    elif not isinstance(store, Store):
        store = opened(store, samples)
    roles = roles_of(variables, window, inputs, targets, input_steps, target_steps)
    for role in roles:
        check_steps(role, store)
    items = choose(store, roles, levels=levels, crop=crop)
    if shuffle is True:  # of all arrays: the order does not depend on what is taken of a sample
        blocks = any(array.rows_per_chunk > 1 for array in store.arrays.values())
        shuffle = "window" if blocks else "global"
        if staging is not None and not staging.holds(files_of(store, store.arrays)):
            shuffle = "shards"
    if threads is None:
        threads = load_settings().threads
    if threads < 1:
        raise BadRequest(f"threads={threads}; wanted 1 or more")
    steps = roles[0].steps if len(roles) == 1 else tuple(sorted({*roles[0].steps, *roles[1].steps}))
    before, after = max(0, -min(steps)), max(0, max(steps))
    tiling = tiling_of((item.part for item in items), crop or {})
    rows = max(0, store.samples - before - after)
    cut = Cut(rows * tiling.count, batch_size, _place(rank, world), tail)
    if not len(cut):
        raise BadRequest(
            f"batch_size={batch_size} with tail={tail!r} on {cut.place.world} ranks "
            f"leaves no batch of {cut.samples} samples"
        )
    if staging is not None:
        files = files_of(store, {item.part.array.name for item in items})
        if staging.limit is not None:
            check_room(store, files, items, cut, shuffle, staging.limit)
        check_disk(store, staging, files)
    fill, masks = fill_of(missing), missing == "mask"
    of_name = standardisers(store, items, standardise)
    parts = [item.part for item in items]
    block_bytes = sum(
        part.held_bytes * rows for part in parts if (rows := rows_together(store, part.array)) > 1
    )
    buffers = plan_buffers(
        batch_bytes=cut.rows * sum(item.sample_bytes + masks * item.sample_values for item in items),
        block_bytes=block_bytes,
        scratch_bytes=scratch_bytes(parts) + reading_bytes(store, parts),
        threads=threads,
        memory=memory,
        blocks=blocks_held(store, block_bytes, memory),
    )
    return Stream(
        store,
        items,
        finishes={item.name: Finish(of_name.get(item.name), fill) for item in items},
        masks=masks,
        transform=transform,
        cut=cut,
        shuffle=shuffle,
        seed=seed,
        window=steps,
        tiling=tiling,
        threads=threads,
        buffers=buffers,
        read_ahead=read_ahead,
        patience=Patience(retries),
        verify=choose_verify(store, (part.array.name for part in parts), verify),
        device=device_of(device),
        numbers=numbers,
        staging=staging,
    )


@dataclass(frozen=True, slots=True)
class Position:
    """Between two batches: `samples` of the epoch are delivered, over all ranks together.

    In a worker process, (number, of all), this is where the worker's own next batch begins.
    """

    epoch: int
    samples: int
    worker: tuple[int, int] | None = None


class Stream(IterableDataset[Batch]):
    """Batches {name: tensor}, sample axis first. Made by `stream`; the names are of `items`.

    Shape: (sample, variable, *rest); with more than one step, (sample, step, variable, *rest).

    A batch is the caller's as long as any tensor of it lives; its memory is used again after that. Each
    `iter()` begins the next epoch, unless `set_epoch` names another. In worker processes of a DataLoader,
    which hold copies, call `set_epoch` before each epoch; position and `work` then stay with the workers, of
    which a StatefulDataLoader asks for them: it goes on with as many workers.
    """

    def __init__(
        self,
        store: Store,
        items: tuple[Item, ...],
        *,
        finishes: Mapping[str, Finish],
        masks: bool,
        transform: Transform | None,
        cut: Cut,
        shuffle: Shuffle,
        seed: int,
        window: tuple[int, ...],
        tiling: Tiling,
        threads: int,
        buffers: Buffers,
        read_ahead: int,
        patience: Patience,
        verify: Verify,
        device: torch.device,
        numbers: bool,
        staging: Staging | None = None,
    ) -> None:
        epoch_order(0, seed=seed, epoch=0, shuffle=shuffle)  # refuses what it does not know, here and now
        self.store = store
        self.items = items
        self.finishes = finishes
        self.masks = masks
        self.transform = transform
        self.cut = cut
        self.shuffle = shuffle
        self.seed = seed
        self.window = window
        self.tiling = tiling
        self.threads = threads
        self.buffers = buffers
        self.read_ahead = read_ahead
        self.patience = patience
        self.verify = verify
        self.device = device
        self.numbers = numbers
        self.staging = staging
        self._at = self._next = Position(epoch=0, samples=0)
        self._work = Work()
        self._source: Source | None = None

    @property
    def samples(self) -> int:
        """Samples of an epoch, over all ranks: rows for which all steps of the window exist, or their tiles."""
        return self.cut.samples

    @property
    def epoch(self) -> int:
        """That of the batch delivered last; before its first and after its last one, that which begins."""
        return self._at.epoch

    @property
    def variables(self) -> dict[str, tuple[str, ...]]:
        """Of each tensor of a batch, the names along its variable axis."""
        return {item.name: item.part.variables for item in self.items}

    @property
    def statistics(self) -> dict[str, dict[str, Statistics]]:
        """Of each tensor of a batch, the statistics of its variables: over all levels that the store has."""
        stacks = self.store.contents.stacks
        return {
            item.name: {
                name: found
                for name, found in stacks[item.part.array.name].statistics.items()
                if name in item.part.variables
            }
            for item in self.items
        }

    @property
    def work(self) -> Work:
        """What reading the batches delivered so far took, in all threads together."""
        return self._work

    @property
    def rows_per_chunk(self) -> int:
        """Of the array with the largest blocks of rows; what `shuffle="window"` permutes."""
        return max(array.rows_per_chunk for array in self.store.arrays.values())

    def destandardise(self, values: torch.Tensor, name: str | None = None) -> torch.Tensor:
        """`values`, (..., variable, *rest) as in the tensor `name` of a batch, in the units of the store.

        `name` is by default `targets`, or that of the only tensor. Raises BadRequest: there is none such.
        """
        if name is None:
            name = self.items[0].name if len(self.items) == 1 else "targets"
        if name not in self.finishes:
            raise BadRequest(f"name={name!r}; a batch has {', '.join(self.finishes)}")
        standardiser = self.finishes[name].standardiser
        return values if standardiser is None else standardiser.undo(values)

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank."""
        return len(self.cut)

    def __iter__(self) -> Iterator[Batch]:
        """The epoch begins with its first batch: an iterator that nobody asks for one skips nothing."""
        self._at = self._next
        self._next = Position(self._at.epoch + 1, samples=0)
        yield from self._batches(self._at)

    def set_epoch(self, epoch: int) -> None:
        """Let the next `iter()` begin `epoch`, where a loaded state stands in it, else at its first batch."""
        if epoch < 0:
            raise BadRequest(f"epoch={epoch}; wanted a number from 0")
        if epoch != self._next.epoch:
            self._at = self._next = Position(epoch, samples=0)

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands: after the last batch it was given, whatever is read ahead."""
        state = {**self._order_of(), "epoch": self._at.epoch, "samples": self._at.samples}
        return state if self._at.worker is None else {**state, "worker": list(self._at.worker)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. Raises BadRequest: it belongs to another store or order."""
        for name, wanted in {"tiles": None, **self._order_of()}.items():
            if (found := state.get(name)) != wanted:
                raise BadRequest(
                    f"the state has {name}={found!r}, the stream of {self.store.path} {wanted!r}"
                )
        worker = tuple(state["worker"]) if "worker" in state else None
        if worker not in (None, _worker()):
            raise BadRequest(f"the state is of worker {worker[0]} of {worker[1]}; go on with as many")
        self._at = self._next = Position(state["epoch"], state["samples"], worker)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}  # open files and buffers stay in their process

    def _order_of(self) -> dict[str, Any]:
        """What the order of an epoch depends on, in the types of JSON."""
        order = {
            "store": self.store.digest,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "window": list(self.window),
        }
        tiles = {dimension: list(begins) for dimension, begins in self.tiling.begins.items()}
        return {**order, "tiles": tiles} if tiles else order

    def _batches(self, start: Position) -> Iterator[Batch]:
        cut = Cut(self.cut.samples, self.cut.batch_size, self.cut.place, self.cut.tail, start.samples)
        order = self._order(start.epoch)
        if _worker() is not None and self.device.type == "cuda":
            raise BadRequest(f"device={str(self.device)!r} in a worker process; wanted num_workers=0")
        number_of, workers = (0, 1) if (worker := _worker()) is None else worker
        # A DataLoader takes batches of its workers in turn, so their order stays
        mine = range(0 if start.worker else number_of, len(cut), workers)
        source, stop = self._opened(), threading.Event()
        ahead = ReadAhead(source.coming, self.read_ahead, source.disk, stop)
        coming = ahead.before((number, order[cut.mine(number)]) for number in mine)
        loading: deque[tuple[int, Loading]] = deque()
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix=_THREAD)
        staged = None
        try:
            if source.stage is not None:
                batches = [order[cut.mine(number)] for number in mine]
                staged = source.stage.start(
                    source.needs([*batches, *self._after(start.epoch, number_of, workers)]), len(batches)
                )
            while True:
                while len(loading) < self.buffers.batches - 1 and (batch := next(coming, None)) is not None:
                    number, samples = batch
                    loading.append(
                        (number, source.load(samples, pool, stop, seed=self.seed, epoch=start.epoch))
                    )
                    if self.numbers:
                        loading[-1][1].arrays["sample"] = samples.copy()
                    if cut.tail == "pad":
                        loading[-1][1].arrays["valid"] = cut.valid(number)
                if not loading:
                    break
                yield self._delivered(start.epoch, cut, loading)
        finally:
            stop.set()
            if source.stage is not None and staged is not None:
                source.stage.stop(staged)
            # Garbage collection may close this in a thread of a pool, which must not wait for its like
            inside = threading.current_thread().name.startswith(_THREAD)
            pool.shutdown(wait=not inside, cancel_futures=True)
            ahead.close(wait=not inside)
        self._at = self._next

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return epoch_order(
            self.samples,
            seed=self.seed,
            epoch=epoch,
            shuffle=self.shuffle,
            rows_per_chunk=self.rows_per_chunk * self.tiling.count,
            rows_per_shard=rows_per_shard(self.store) * self.tiling.count,
        )

    def _after(self, epoch: int, number_of: int, workers: int) -> list[NDArray[np.int64]]:
        """The samples of the batches of the epoch after this one, where not all shards can stay for it."""
        if self.staging is None or self.staging.holds(
            files_of(self.store, {item.part.array.name for item in self.items})
        ):
            return []
        order = self._order(epoch + 1)
        return [order[self.cut.mine(number)] for number in range(number_of, len(self.cut), workers)]

    def _delivered(self, epoch: int, cut: Cut, loading: deque[tuple[int, Loading]]) -> Batch:
        """The first of `loading`."""
        number, first = loading.popleft()
        batch, work = first.result()
        if self._source is not None and self._source.stage is not None:
            self._source.stage.advance()
        if loading:
            loading[0][1].send()
        self._work = together([self._work, work])
        worker = _worker()
        self._at = Position(epoch, cut.end(number + (worker[1] if worker else 1) - 1), worker)
        if self.transform is None:
            return batch
        with spent_on("transform"):
            return self.transform(batch)

    def _opened(self) -> Source:
        if self._source is None or self._source.process != os.getpid():  # threads do not survive a fork
            self._source = Source(
                self.store,
                self.items,
                finishes={name: finish for name, finish in self.finishes.items() if not finish.nothing},
                masks=self.masks,
                samples=self.cut.rows,
                first=max(0, -min(self.window)),
                tiling=self.tiling,
                threads=self.threads,
                depth=self.buffers.batches,
                cached_chunks=self.buffers.chunks,
                patience=self.patience,
                verify=self.verify,
                device=self.device,
                staging=self.staging,
            )
        return self._source


def _place(rank: int | None, world: int | None) -> Place:
    if (rank is None) != (world is None):
        raise BadRequest(f"rank={rank}, world={world}; wanted both or neither")
    if rank is not None and world is not None:
        return Place(rank, world)
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return Place(distributed.get_rank(), distributed.get_world_size())
    return Place()


def _worker() -> tuple[int, int] | None:
    """The number of this worker process of a DataLoader, and of how many. None: this is no such process."""
    info = get_worker_info()
    return None if info is None else (info.id, info.num_workers)

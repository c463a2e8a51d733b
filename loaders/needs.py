"""Which files of a store the batches of an epoch need, and when: arithmetic alone, nothing is opened.

A file is a shard, or the index beside it. Batches are counted in the order in which this process delivers them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadRequest
from maelio.files import show_bytes
from maelio.loaders.items import Item
from maelio.loaders.order import WINDOW_SHARDS, Cut, Shuffle
from maelio.store import Store

Numbers = NDArray[np.int64]
NEVER = 2**62


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A shard of an array, or its index, by its key; `what` it is, for messages."""

    array: str
    shard: int
    key: str
    bytes: int
    crc32c: str
    what: str


@dataclass(frozen=True)
class Files:
    """The files of some arrays of a store: of each the shards, and its indexes where those are files."""

    files: tuple[StoredFile, ...]
    first_shard: Mapping[str, int]
    first_index: Mapping[str, int]

    @property
    def nbytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def of_shard(self, array: str, shard: int) -> tuple[int, ...]:
        """The numbers of the files that reading this shard takes."""
        index = (self.first_index[array] + shard,) if array in self.first_index else ()
        return (self.first_shard[array] + shard, *index)


def files_of(store: Store, names: Iterable[str]) -> Files:
    found: list[StoredFile] = []
    first_shard, first_index = {}, {}
    for name in names:
        array, stack = store.arrays[name], store.contents.stacks[name]
        first_shard[name] = len(found)
        for number, shard in enumerate(stack.shards):
            rows = array.rows_of(number)
            what = f"shard {number} of array {name!r}, rows {rows.start} to {rows.stop - 1}"
            found.append(StoredFile(name, number, array.shard_key(number), shard.bytes, shard.crc32c, what))
        if not stack.indexes:
            continue
        first_index[name] = len(found)
        for number, index in enumerate(stack.indexes):
            what = f"index of shard {number} of array {name!r}"
            found.append(
                StoredFile(name, number, f"{array.index_key(number)}", index.bytes, index.crc32c, what)
            )
    return Files(tuple(found), first_shard, first_index)


@dataclass(frozen=True)
class Needs:
    """Batch ``batches[i]`` needs file ``files[i]``. Shape of both: (need,); by batch, each pair once."""

    batches: Numbers
    files: Numbers

    @cached_property
    def _by_file(self) -> tuple[Numbers, Numbers, Numbers]:
        order = np.lexsort((self.batches, self.files))
        files, batches = self.files[order], self.batches[order]
        known, first = np.unique(files, return_index=True)
        return known, np.append(first, len(files)), batches

    def next_use(self, file: int, now: int) -> int:
        """The first batch from `now` on that needs `file`; NEVER: none does."""
        known, first, batches = self._by_file
        place = int(np.searchsorted(known, file))
        if place == len(known) or known[place] != file:
            return NEVER
        uses = batches[first[place] : first[place + 1]]
        later = int(np.searchsorted(uses, now))
        return int(uses[later]) if later < len(uses) else NEVER


NOTHING = Needs(np.empty(0, np.int64), np.empty(0, np.int64))


def needs(files: Files, items: Sequence[Item], batches: Sequence[Numbers], *, first: int) -> Needs:
    """What batches of these samples need; sample i is row ``i + first`` at step 0. Shape of each: (sample,)."""
    samples = np.concatenate([np.empty(0, np.int64), *batches])
    number = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    pairs = [np.empty(0, np.int64)]
    total = max(len(files.files), 1)
    for array, step in {(item.part.array.name, step) for item in items for step in item.steps}:
        per_shard = next(i.part.array for i in items if i.part.array.name == array).rows_per_shard
        shards = (samples + (step + first)) // per_shard
        for offset in (files.first_shard[array], files.first_index.get(array)):
            if offset is not None:
                pairs.append(np.unique(number * total + shards + offset))
    batch, file = np.divmod(np.unique(np.concatenate(pairs)), total)
    return Needs(batch, file)


def at_once(store: Store, files: Files, items: Sequence[Item], cut: Cut, shuffle: Shuffle) -> int:
    """The most bytes of files that one batch of any epoch may need; with `shards`, that its window needs."""
    return sum(
        sum(_largest(store, files, name, _shards_at_once(store, items, name, cut, shuffle)))
        for name in {item.part.array.name for item in items}
    )


def _shards_at_once(store: Store, items: Sequence[Item], name: str, cut: Cut, shuffle: Shuffle) -> int:
    steps = {step for item in items for step in item.steps}
    rows = store.arrays[name].rows_per_shard
    of_sample = 1 if len(steps) == 1 else (max(steps) - min(steps)) // rows + 2
    of_batch = cut.rows * of_sample
    wraps = cut.tail == "pad"
    if shuffle is False:
        return min(of_batch, ((cut.batch_size - 1) // rows + 1 + of_sample) * (1 + wraps))
    if shuffle == "shards":
        permuted = rows_per_shard(store)
        of_window = WINDOW_SHARDS * (ceil(permuted / rows) + of_sample)  # samples begin within a shard
        windows = (cut.batch_size - 1) // (WINDOW_SHARDS * permuted) + 3 + wraps  # one may hold a short shard
        least = ceil(WINDOW_SHARDS * permuted / rows) + 1
        return max(min(of_batch, windows * of_window), least)
    return of_batch


def _largest(store: Store, files: Files, name: str, count: int) -> list[int]:
    """Bytes of the `count` largest shards of an array."""
    shards = [files.of_shard(name, shard) for shard in range(store.arrays[name].shards)]
    sizes = (sum(files.files[number].bytes for number in numbers) for numbers in shards)
    return sorted(sizes, reverse=True)[:count]


def check_room(
    store: Store, files: Files, items: Sequence[Item], cut: Cut, shuffle: Shuffle, limit: int
) -> None:
    """Raises BadRequest: a stage of `limit` bytes cannot hold a shard, or what one batch may need."""
    if limit >= files.nbytes:
        return
    largest = max(files.files, key=lambda file: file.bytes)
    if largest.bytes > limit:
        raise BadRequest(
            f"stage_bytes={show_bytes(limit)} does not hold {largest.what} of {store.path}, {show_bytes(largest.bytes)}"
        )
    wanted = at_once(store, files, items, cut, shuffle)
    if wanted > limit:
        other = "" if shuffle == "shards" else " or choose shuffle='shards'"
        raise BadRequest(
            f"stage_bytes={show_bytes(limit)} does not hold what a batch of {store.path} may need with "
            f"shuffle={shuffle!r}, {show_bytes(wanted)}; lower batch_size{other}"
        )


def rows_per_shard(store: Store) -> int:
    """Of the array with the largest samples; what `shuffle="shards"` permutes."""
    return max(store.arrays.values(), key=lambda array: array.row_bytes).rows_per_shard

"""Which sample is delivered when, and to whom: arithmetic alone, no disk, clock or network.

    epoch_order   sample numbers in the order of one epoch
    Cut           that order cut into global batches, and each global batch shared among the ranks

The global batch j is the same for any number of ranks, workers and threads, so a run may stop on four
ranks and go on with three, and neither drops nor repeats a sample.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadRequest

Shuffle = Literal["global", "window", "shards", False]
Tail = Literal["short", "drop", "pad"]
WINDOW_CHUNKS = 64
WINDOW_SHARDS = 8


@dataclass(frozen=True, slots=True)
class Place:
    """This process among all that train together. Raises BadRequest: there is no such place."""

    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise BadRequest(f"rank={self.rank} of world={self.world}; wanted 0 <= rank < world")


def epoch_order(
    samples: int,
    *,
    seed: int,
    epoch: int,
    shuffle: Shuffle,
    rows_per_chunk: int = 1,
    window_chunks: int = WINDOW_CHUNKS,
    rows_per_shard: int = 1,
) -> NDArray[np.int64]:
    """Every sample number exactly once, in the order of this epoch. Shape: (samples,).

    `global` is one permutation of all samples. `window` takes the chunks (`rows_per_chunk` samples in a row)
    in random order, `window_chunks` at a time, and permutes the samples within each such window: a batch then
    touches few chunks. `shards` takes the shards (`rows_per_shard` samples in a row) in random order,
    WINDOW_SHARDS at a time, and within them permutes the samples, or does as `window` where chunks hold several
    rows: an epoch then needs each shard for a short while only. `False` is the order of the store.

    Raises:
        BadRequest: an unknown `shuffle`, a negative `seed` or `epoch`.
    """
    if seed < 0 or epoch < 0:
        raise BadRequest(f"seed={seed}, epoch={epoch}; wanted numbers from 0")
    if shuffle is False:
        return np.arange(samples, dtype=np.int64)
    random = np.random.default_rng([seed, epoch])
    match shuffle:
        case "global":
            return random.permutation(samples).astype(np.int64, copy=False)
        case "window":
            return _window_order(samples, random, rows_per_chunk, window_chunks)
        case "shards":
            return _shards_order(samples, random, rows_per_shard, rows_per_chunk, window_chunks)
    raise BadRequest(f"shuffle={shuffle!r}; wanted one of {get_args(Shuffle)}")


def _window_order(
    samples: int, random: np.random.Generator, rows_per_chunk: int, window_chunks: int
) -> NDArray[np.int64]:
    chunks = random.permutation(-(-samples // rows_per_chunk))
    row_in_chunk = np.arange(rows_per_chunk)
    order = np.empty(samples, np.int64)
    done = 0
    for first in range(0, len(chunks), window_chunks):
        window = chunks[first : first + window_chunks, None] * rows_per_chunk + row_in_chunk
        there = window[window < samples]  # the last chunk may be a short one
        order[done : done + there.size] = random.permutation(there)
        done += there.size
    return order


def _shards_order(
    samples: int, random: np.random.Generator, rows_per_shard: int, rows_per_chunk: int, window_chunks: int
) -> NDArray[np.int64]:
    shards = random.permutation(ceil(samples / rows_per_shard))
    windows = [shards[first : first + WINDOW_SHARDS] for first in range(0, len(shards), WINDOW_SHARDS)]
    order = [np.empty(0, np.int64)]
    for window in windows:
        rows = (np.sort(window)[:, None] * rows_per_shard + np.arange(rows_per_shard)).ravel()
        rows = rows[rows < samples]  # the last shard may be a short one
        blocks = rows_per_chunk > 1
        order.append(
            rows[_window_order(len(rows), random, rows_per_chunk, window_chunks)]
            if blocks
            else random.permutation(rows)
        )
    return np.concatenate(order)


@dataclass(frozen=True, slots=True)
class Cut:
    """The order of one epoch, from position `start` on, cut into global batches of `batch_size` samples.

    Rank r takes every `world`-th sample of a global batch, beginning with its r-th. A last batch that is
    not full is left out with tail `drop`; with `short` it is cut to a multiple of `world`, so that all ranks
    take equal steps, which leaves out at most ``world - 1`` samples of an epoch; with `pad` it is filled up
    with samples from the beginning of the epoch, which are not `valid`: they have been delivered already.

    Raises:
        BadRequest: `batch_size` is not a positive multiple of `world`, or an unknown `tail`.
    """

    samples: int
    batch_size: int
    place: Place = Place()
    tail: Tail = "short"
    start: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.batch_size % self.place.world:
            raise BadRequest(
                f"batch_size={self.batch_size} over {self.place.world} ranks; wanted a positive multiple of them"
            )
        if self.tail not in get_args(Tail):
            raise BadRequest(f"tail={self.tail!r}; wanted one of {get_args(Tail)}")

    @property
    def stop(self) -> int:
        """The position behind the last one that some rank takes; with `pad` behind the epoch's last sample."""
        left = max(self.samples - self.start, 0)
        if self.tail == "pad":
            return self.start + ceil(left / self.batch_size) * self.batch_size
        unit = self.batch_size if self.tail == "drop" else self.place.world
        return self.start + left // unit * unit

    @property
    def rows(self) -> int:
        """Samples of a full batch on this rank."""
        return self.batch_size // self.place.world

    def __len__(self) -> int:
        """Batches, the same on every rank."""
        return ceil((self.stop - self.start) / self.batch_size)

    def end(self, batch: int) -> int:
        """Samples of the epoch that are consumed, over all ranks, once global batch `batch` is delivered."""
        return min(self._end(batch), self.samples)

    def mine(self, batch: int) -> NDArray[np.int64]:
        """This rank's part of global batch `batch`: positions in the epoch's order."""
        return self._mine(batch) % self.samples

    def valid(self, batch: int) -> NDArray[np.bool_]:
        """Of this rank's samples of global batch `batch`, those that do not pad it."""
        return self._mine(batch) < self.samples

    def _mine(self, batch: int) -> NDArray[np.int64]:
        first = self.start + batch * self.batch_size + self.place.rank
        return np.arange(first, self._end(batch), self.place.world)

    def _end(self, batch: int) -> int:
        return min(self.start + (batch + 1) * self.batch_size, self.stop)

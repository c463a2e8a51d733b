"""How well an order mixes the samples, and what it touches: global, window and shards beside each other.

    python -m maelio.benchmarks.shuffling [--samples 200000] [--rows-per-chunk 256] [--chunks-per-shard 64] [--batch 1024]

`displacement`: how far a sample stands from its place in the store, in parts of the epoch; a permutation has 1/3 on average.
`chunks`: how many different chunks a batch touches: its diversity, and its cost. `again`: the share of samples that come
in the same batch as their neighbour in the store; 1 without a shuffle.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maelio.loaders.order import Shuffle, epoch_order

ORDERS: tuple[Shuffle, ...] = ("global", "window", "shards", False)


@dataclass(frozen=True, slots=True)
class Mixing:
    """See the module. `chunks` and `again` are means over the whole batches."""

    displacement: float
    chunks: float
    again: float


def mixing(order: NDArray[np.int64], *, rows_per_chunk: int, batch: int) -> Mixing:
    """Of an epoch's `order`, (sample,), in batches of `batch` samples."""
    samples = len(order)
    batches = samples // batch
    whole = order[: batches * batch].reshape(batches, batch)
    places = np.empty(samples, np.int64)
    places[order] = np.arange(samples)
    of_batch = places // batch
    return Mixing(
        displacement=float(np.abs(places - np.arange(samples)).mean() / samples),
        chunks=float(np.mean([len(np.unique(one // rows_per_chunk)) for one in whole])),
        again=float((of_batch[1:] == of_batch[:-1]).mean()),
    )


def table(samples: int, rows_per_chunk: int, chunks_per_shard: int, batch: int) -> str:
    lines = [f"{'shuffle':<10}{'displacement':>14}{'chunks a batch':>16}{'again':>10}{'made in (ms)':>14}"]
    for shuffle in ORDERS:
        start = time.perf_counter()
        order = epoch_order(
            samples,
            seed=0,
            epoch=0,
            shuffle=shuffle,
            rows_per_chunk=rows_per_chunk,
            rows_per_shard=rows_per_chunk * chunks_per_shard,
        )
        spent = time.perf_counter() - start
        found = mixing(order, rows_per_chunk=rows_per_chunk, batch=batch)
        lines.append(
            f"{shuffle or 'False':<10}{found.displacement:>14.3f}{found.chunks:>16.0f}{found.again:>10.4f}{1e3 * spent:>14.1f}"
        )
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--rows-per-chunk", type=int, default=256)
    parser.add_argument("--chunks-per-shard", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1024)
    given = parser.parse_args(argv)
    sys.stdout.write(table(given.samples, given.rows_per_chunk, given.chunks_per_shard, given.batch))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

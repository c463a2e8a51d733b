"""Read one data set in random order with `maelio.stream` and with what else is used: no training, loading alone.

    python -m maelio.benchmarks.peers.stream FOLDER [--rounds 3]

`FOLDER` is the one that `maelio.benchmarks.peers.convert` filled. Arms, all in this process, in turn, with the same
samples in the same order: maelio (lz4, and uncompressed), zarr-python over the same store, xarray over the NetCDF
files in a torch DataLoader, and the limit: rows copied in that order from memory into one reused buffer.
All data is in the page cache: the figures are of software, not of disks.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import xarray as xr
import zarr
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from maelio.codecs import CodecName
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import InvalidMeasurement
from maelio.files import show_bytes
from maelio.loaders.order import epoch_order
from maelio.loaders.stream import stream
from maelio.store import open_store

BATCH_SIZE = 16
VARIABLES = ("t2m", "u10", "msl", "tp")


class Samples(Dataset[NDArray[Any]]):
    """Sample i: (variable, latitude, longitude), read when asked for."""

    def __init__(self, length: int, read: Callable[[int], NDArray[Any]]) -> None:
        self.length = length
        self.read = read

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self.read(index)


Arm = Callable[[int], Iterable[torch.Tensor]]


def copies(rows: NDArray[Any], order: NDArray[Any]) -> Iterator[torch.Tensor]:
    """The limit: one thread copies rows that are in memory into a buffer that is used again."""
    batch = np.empty((BATCH_SIZE, *rows.shape[1:]), rows.dtype)
    for first in range(0, len(order), BATCH_SIZE):
        wanted = order[first : first + BATCH_SIZE]
        np.take(rows, wanted, axis=0, out=batch[: len(wanted)], mode="clip")
        yield torch.from_numpy(batch[: len(wanted)])


class Epoch:
    """What one pass cost, and one value of every variable of every sample: proof that all arms read the same."""

    def __init__(self, batches: Iterable[torch.Tensor]) -> None:
        self.seen: list[list[float]] = []
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            self.seen += batch[:, :, 0, 0].tolist()
        self.wall_s, self.cpu_s = time.perf_counter() - wall, time.process_time() - cpu


def make_stores(folder: Path) -> dict[CodecName, Path]:
    """The stores that are read, converted where they are not there yet."""
    codecs: tuple[CodecName, ...] = ("lz4", "none")
    stores = {codec: folder / f"stream-{codec}" for codec in codecs}
    for codec, target in stores.items():
        if not target.exists():
            convert(sorted((folder / "source").glob("*.nc")), target, Options(codec=codec))
    return stores


def make_arms(stores: Mapping[CodecName, Path], dataset: xr.Dataset) -> dict[str, Arm]:
    """Of each arm, what gives the batches of an epoch."""
    array = zarr.open_array(stores["lz4"] / "fields", mode="r")
    count = array.shape[0]

    def by_maelio(codec: CodecName) -> Arm:
        batches = stream(stores[codec], batch_size=BATCH_SIZE, seed=0, shuffle="global")

        def epoch(number: int) -> Iterator[torch.Tensor]:
            batches.set_epoch(number)
            for batch in batches:
                yield batch["fields"]

        return epoch

    def by_loader(read: Callable[[int], NDArray[Any]]) -> Arm:
        samples = Samples(count, read)
        return lambda number: DataLoader(samples, batch_size=BATCH_SIZE, sampler=order(number).tolist())

    def order(number: int) -> NDArray[np.int64]:
        return epoch_order(count, seed=0, epoch=number, shuffle="global")

    memory = np.asarray(array[...])
    return {
        "maelio, lz4": by_maelio("lz4"),
        "maelio, uncompressed": by_maelio("none"),
        "copy from memory": lambda number: copies(memory, order(number)),
        "zarr-python": by_loader(lambda index: np.asarray(array[index])),
        "xarray, NetCDF": by_loader(
            lambda index: np.stack([dataset[name][index].values for name in VARIABLES])
        ),
    }


def measure(arms: Mapping[str, Arm], rounds: int) -> dict[str, list[Epoch]]:
    """One warm-up and `rounds` counted epochs of every arm, in turn.

    Raises InvalidMeasurement: in some epoch two arms did not deliver the same samples in the same order.
    """
    found: dict[str, list[Epoch]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, batches in arms.items():
            found[name].append(Epoch(batches(number)))
        first, *others = (epochs[-1] for epochs in found.values())
        if any(other.seen != first.seen for other in others):
            raise InvalidMeasurement(f"epoch {number}: the arms did not deliver the same samples")
    return {name: epochs[1:] for name, epochs in found.items()}


def table(found: Mapping[str, Sequence[Epoch]], count: int, nbytes: int) -> str:
    """Medians; `wall` is the ratio to the first arm."""
    lines = [f"{'arm':<24}{'samples/s':>12}{'MB/s':>10}{'CPU s/GB':>10}{'wall':>9}"]
    base = median(epoch.wall_s for epoch in next(iter(found.values())))
    for name, epochs in found.items():
        wall, cpu = median(epoch.wall_s for epoch in epochs), median(epoch.cpu_s for epoch in epochs)
        rate = f"{count / wall:>12.0f}{nbytes / 1e6 / wall:>10.0f}"
        lines.append(f"{name:<24}{rate}{cpu / nbytes * 1e9:>10.2f}{wall / base:>8.2f}x")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(argv)
    stores = make_stores(given.folder)
    fields = open_store(stores["lz4"]).arrays["fields"]
    sources = sorted((given.folder / "source").glob("*.nc"))
    with xr.open_mfdataset(sources, combine="nested", concat_dim="time") as dataset:
        found = measure(make_arms(stores, dataset), given.rounds)
    what = f"{fields.samples} samples of {show_bytes(fields.row_bytes)}, batches of {BATCH_SIZE}"
    how = f"{len(os.sched_getaffinity(0))} cores, {given.rounds} interleaved epochs after one warm-up"
    sys.stdout.write(f"{what}, {how}; the same samples in all arms\n")
    sys.stdout.write(table(found, fields.samples, fields.samples * fields.row_bytes) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

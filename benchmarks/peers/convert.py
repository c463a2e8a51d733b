"""Convert one data set with maelio and with what else is used, to the same chunks, codec and shards.

    python -m maelio.benchmarks.peers.convert FOLDER [--rounds 3] [--files 8]

`FOLDER` receives the data set (45 MB a file) and the stores. Arms: maelio; the floor, which reads, inflates,
unshuffles, encodes and writes and does nothing else; xarray's `to_zarr` on threads; h5py and zarr-python in
two processes, the loop a scientist would write. All start as fresh processes, imports are in the figures.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from maelio.benchmarks.peers.fields import WorkSet, make
from maelio.benchmarks.peers.rounds import interleave, rows, table, this_module
from maelio.codecs import Codec
from maelio.converters.convert import convert
from maelio.converters.formats import describe
from maelio.converters.options import Options
from maelio.converters.storage import Chunks, read_rows
from maelio.errors import InvalidMeasurement

THREADS = 2
VARIABLES = ("t2m", "u10", "msl", "tp")
LZ4 = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=4)


def by_maelio(sources: Sequence[Path], target: Path) -> None:
    convert(sources, target, Options(threads=THREADS))


def by_floor(sources: Sequence[Path], target: Path) -> None:
    """Every source chunk, row by row of chunks: no order of samples, no statistics, no store that opens."""
    target.mkdir()
    codec = Codec("lz4")

    def one(source: Path) -> None:
        variables = describe(source).variables
        with open(source, "rb") as file, open(target / source.name, "wb", buffering=0) as out:
            for name in VARIABLES:
                variable = variables[name]
                assert isinstance(variable.storage, Chunks)
                block = np.empty((variable.storage.shape[0], *variable.shape[1:]), np.float32)
                for first in range(0, variable.shape[0], len(block)):
                    part = range(first, min(first + len(block), variable.shape[0]))
                    read_rows(file.fileno(), variable.storage, variable.stored, 0, part, block[: len(part)])
                    out.writelines(codec.encode(field) for field in block[: len(part)])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, sources))


def by_xarray(sources: Sequence[Path], target: Path) -> None:
    """One array a variable, one step a chunk; dask's threads."""
    chunks = {"time": 12, "latitude": -1, "longitude": -1}
    with xr.open_mfdataset(sources, combine="nested", concat_dim="time", chunks=chunks) as dataset:
        names = [str(name) for name in dataset.data_vars]
        for name in names:
            dataset[name].encoding.clear()
        grid, steps = tuple(dataset[names[0]].shape[1:]), dataset.chunks["time"][0]
        layout = {"chunks": (1, *grid), "shards": (steps, *grid), "compressors": [LZ4]}
        encoding = dict.fromkeys(names, layout)
        dataset.to_zarr(target, zarr_format=3, encoding=encoding, consolidated=False)


def by_h5py(sources: Sequence[Path], target: Path) -> None:
    """A loop over files in two processes, written by zarr-python in maelio's own layout."""
    with h5py.File(sources[0]) as file:
        shape = file[VARIABLES[0]].shape
    steps = shape[0]
    zarr.create_array(
        target,
        shape=(steps * len(sources), len(VARIABLES), *shape[1:]),
        dtype="f4",
        chunks=(1, len(VARIABLES), *shape[1:]),
        shards=(steps, len(VARIABLES), *shape[1:]),
        compressors=[LZ4],
    )
    with ProcessPoolExecutor(THREADS) as pool:
        list(pool.map(_copy_file, sources, [target] * len(sources), range(0, steps * len(sources), steps)))


def _copy_file(source: Path, target: Path, first: int) -> None:
    with h5py.File(source) as file:
        block = np.stack([file[name][...] for name in VARIABLES], axis=1)
    zarr.open_array(target)[first : first + len(block)] = block


ARMS: dict[str, Callable[[Sequence[Path], Path], None]] = {
    "maelio": by_maelio,
    "floor": by_floor,
    "xarray to_zarr": by_xarray,
    "h5py + zarr, 2 proc.": by_h5py,
}


def fields_of(arm: str, target: Path) -> Iterator[NDArray[Any]]:
    """What an arm wrote, variable by variable. Shape: (time, latitude, longitude)."""
    if arm == "xarray to_zarr":
        group = zarr.open_group(target, mode="r")
        yield from (np.asarray(group[name][...]) for name in VARIABLES)  # type: ignore[index]
        return
    array = zarr.open_array(target if arm.startswith("h5py") else target / "fields", mode="r")
    yield from (np.asarray(array[:, number]) for number in range(len(VARIABLES)))


def check(folder: Path) -> None:
    """Raises InvalidMeasurement: two arms do not hold the same values."""
    arms = [arm for arm in ARMS if arm != "floor"]
    for fields in zip(*(fields_of(arm, folder / arm) for arm in arms), strict=True):
        for arm, field in zip(arms[1:], fields[1:], strict=True):
            if not np.array_equal(field, fields[0]):
                raise InvalidMeasurement(f"{arm} and {arms[0]} do not hold the same values")


def main(argv: Sequence[str] | None = None) -> int:
    usual = WorkSet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=usual.files)
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--grid", type=int, nargs=2, default=(usual.latitudes, usual.longitudes))
    parser.add_argument("--arm", choices=ARMS, help="run one arm, and nothing else")
    given = parser.parse_args(argv)
    work = WorkSet(given.files, given.steps, *given.grid)
    if given.arm:
        ARMS[given.arm](work.paths(given.folder / "source"), given.folder / given.arm)
        return 0
    make(given.folder / "source", work)
    size = ["--files", str(work.files), "--steps", str(work.steps), "--grid", *map(str, given.grid)]
    commands = {
        arm: this_module("maelio.benchmarks.peers.convert", str(given.folder), *size, "--arm", arm)
        for arm in ARMS
    }
    costs = interleave(
        commands, given.rounds, lambda arm: shutil.rmtree(given.folder / arm, ignore_errors=True)
    )
    check(given.folder)
    cores = len(os.sched_getaffinity(0))
    sys.stdout.write(
        f"{work.files} files, {work.bytes / 1e6:.0f} MB decoded, {cores} cores, {given.rounds} interleaved rounds; "
        f"values equal in all arms\n{table(rows(costs))}\n"
    )
    maelio = rows(costs)[0]
    sys.stdout.write(f"maelio: {work.bytes / 1e6 / maelio.wall_s:.0f} MB/s decoded\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

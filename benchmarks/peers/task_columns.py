"""NetCDF4 profiles and scalars to samples that hold all values of one column."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import zarr
from numpy.typing import NDArray

from maelio.benchmarks.peers.columns import DIMENSIONS, PROFILES, Columns
from maelio.benchmarks.peers.task import Arm, Block, Size, Task, restored

NAMES = tuple(DIMENSIONS)
SIZES = {"tiny": Columns(files=2, columns=40), "small": Columns(files=3), "full": Columns(files=10)}
_CHUNK = 212  # columns; divides the 16960 of a file


def task(size: Size) -> Task:
    work = SIZES[size]
    rows = _CHUNK if work.columns % _CHUNK == 0 else work.columns
    given = {"variables": NAMES}
    joined = {**given, "stack": False, "rows": rows}

    def dataset(target: Path) -> Iterator[Block]:
        with restored(target) as found:
            for first in range(0, found.sizes["column"], work.columns):
                for name in NAMES:
                    yield name, found[name][first : first + work.columns].values

    def one_array(target: Path) -> Iterator[Block]:
        """Shape: (column, value)."""
        array = zarr.open_array(target, mode="r")
        for first in range(0, array.shape[0], work.columns):
            yield from _split(np.asarray(array[first : first + work.columns]))

    def tars(target: Path) -> Iterator[Block]:
        for path in sorted(target.glob("*.tar")):
            with tarfile.open(path) as tar:
                members = (tar.extractfile(member) for member in tar)
                yield from _split(np.stack([np.load(io.BytesIO(file.read())) for file in members if file]))

    def records(target: Path) -> Iterator[Block]:
        from tfrecord.reader import tfrecord_loader

        for path in sorted(target.glob("*.tfrecord")):
            found = list(
                islice(tfrecord_loader(str(path), None, dict.fromkeys(NAMES, "byte")), work.columns + 1)
            )
            for name in NAMES:
                values = np.frombuffer(b"".join(bytes(record[name]) for record in found), np.float32)
                shape = tuple(PROFILES[dimension] for dimension in DIMENSIONS[name][1:])
                yield name, values.reshape(-1, *shape)

    def maelio(container: str) -> Arm:
        return Arm("by_maelio", dataset, {"samples": "column", "format": container})

    arms = {
        "maelio": maelio("zarr"),
        "maelio, tfrecord": maelio("tfrecord"),
        "maelio, tar": maelio("tar"),
        "floor": Arm("by_floor", None),
        "h5py + zarr, 2 processes": Arm("by_h5py", one_array, joined),
        "dask concatenate + store": Arm("by_dask_columns", one_array, joined),
        "tfrecord": Arm(
            "by_tfrecord", records, {**given, "threads": 1}, needs=("tfrecord",), against="maelio, tfrecord"
        ),
        "tfrecord, 2 processes": Arm(
            "by_tfrecord", records, given, needs=("tfrecord",), against="maelio, tfrecord"
        ),
        "webdataset, 2 processes": Arm(
            "by_webdataset", tars, given, needs=("webdataset",), against="maelio, tar"
        ),
    }
    return Task(work, truth, arms)


def truth(paths: Sequence[Path]) -> Iterator[Block]:
    for path in paths:
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            for name in NAMES:
                yield f"{name} in {path.name}", file[name][:]


def _split(rows: NDArray[Any]) -> Iterator[Block]:
    """The variables of rows (column, value)."""
    first = 0
    for name in NAMES:
        shape = tuple(PROFILES[dimension] for dimension in DIMENSIONS[name][1:])
        yield name, rows[:, first : first + prod(shape)].reshape(-1, *shape)
        first += prod(shape)

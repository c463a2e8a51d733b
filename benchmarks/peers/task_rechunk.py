"""Zarr, map by map, to the time series of every place, within a memory cap."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from maelio.benchmarks.peers.maps import NAME, Maps
from maelio.benchmarks.peers.task import Arm, Block, Size, Task, restored

SIZES = {
    "tiny": Maps(steps=8, memory=2**24, latitudes=6, longitudes=8, tile=(3, 4)),
    "small": Maps(steps=576, memory=2**28),
    "full": Maps(steps=2304, memory=2**30),
}


def task(size: Size) -> Task:
    work = SIZES[size]
    band = work.tile[0]

    def blocks(array: Any) -> Iterator[Block]:
        """Bands of latitude."""
        for first in range(0, work.latitudes, band):
            yield f"rows from {first}", np.asarray(array[:, first : first + band])

    def dataset(target: Path) -> Iterator[Block]:
        with restored(target) as found:
            yield from blocks(found[NAME].transpose("time", "latitude", "longitude"))

    def one_array(target: Path) -> Iterator[Block]:
        yield from blocks(zarr.open_array(target, mode="r"))

    def truth(paths: Sequence[Path]) -> Iterator[Block]:
        """All of it in memory: a chunk of the source holds every row."""
        fields = np.asarray(zarr.open_group(paths[0], mode="r")[NAME][...])  # type: ignore[index]
        yield from blocks(fields)

    given = {"variable": NAME, "tile": work.tile, "memory": work.memory}
    arms = {
        "maelio": Arm("by_maelio", dataset, {"samples": "latitude,longitude", "memory": work.memory}),
        "dask rechunk": Arm("by_dask_rechunk", one_array, given),
        "rechunker": Arm("by_rechunker", one_array, given, environment="rechunker"),
        "tensorstore": Arm("by_tensorstore", one_array, given, needs=("tensorstore",)),
    }
    return Task(work, truth, arms, work.memory)

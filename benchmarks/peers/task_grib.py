"""GRIB messages to samples that hold all variables and levels of one time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import eccodes
import numpy as np
import xarray as xr

from maelio.benchmarks.peers.messages import LEVELS, VARIABLES, Messages
from maelio.benchmarks.peers.task import Arm, Block, Size, Task, restored

Packing = Literal["grid_simple", "grid_ccsds"]
FILES = {"small": 1, "full": 5}  # of 288 messages


def task(size: Size, packing: Packing) -> Task:
    if size == "tiny":
        work = Messages(packing, files=2, steps=2, latitudes=9, longitudes=12)
    else:
        work = Messages(packing, FILES[size])

    def blocks(found: xr.Dataset) -> Iterator[Block]:
        """Field by field, in the order of the messages."""
        for step in range(found.sizes["time"]):
            for name in VARIABLES:
                steps = found[name][step].sel(isobaricInhPa=list(LEVELS)).values
                yield from (
                    (f"{name} at {level} hPa", field) for level, field in zip(LEVELS, steps, strict=True)
                )

    def dataset(target: Path) -> Iterator[Block]:
        with restored(target) as found:
            yield from blocks(found)

    def earthkit(target: Path) -> Iterator[Block]:
        with xr.open_zarr(target, chunks=None, consolidated=False) as found:
            yield from blocks(found.rename(forecast_reference_time="time", level="isobaricInhPa"))

    def group(target: Path) -> Iterator[Block]:
        with xr.open_zarr(target, chunks=None, consolidated=False) as found:
            yield from blocks(found)

    def truth(paths: Sequence[Path]) -> Iterator[Block]:
        for path in paths:
            with open(path, "rb") as file:
                while handle := eccodes.codes_grib_new_from_file(file):
                    values = eccodes.codes_get_double_array(handle, "values").astype(np.float32)
                    what = f"{eccodes.codes_get(handle, 'shortName')} at {eccodes.codes_get(handle, 'level')} hPa"
                    eccodes.codes_release(handle)
                    yield what, values.reshape(work.latitudes, work.longitudes)

    chunks = {"time": 1, "isobaricInhPa": -1, "latitude": -1, "longitude": -1}
    given = {"chunks": chunks, "shard": work.steps}
    arms = {
        "maelio": Arm("by_maelio", dataset),
        "floor": Arm("by_grib_floor", None),
        "cfgrib + to_zarr": Arm("by_xarray", group, {**given, "engine": "cfgrib"}, needs=("cfgrib",)),
        "earthkit-data + to_zarr": Arm("by_earthkit", earthkit, given, needs=("earthkit.data",)),
    }
    return Task(work, truth, arms)

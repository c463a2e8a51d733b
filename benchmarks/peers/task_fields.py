"""NetCDF4 maps to samples that hold all variables of one step."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from maelio.benchmarks.peers.fields import VARIABLES, Fields
from maelio.benchmarks.peers.task import Arm, Block, Size, Task, restored

NAMES = tuple(VARIABLES)
SIZES = {
    "tiny": Fields(files=2, steps=4, latitudes=9, longitudes=12),
    "small": Fields(files=8),
    "full": Fields(files=24),
}


def task(size: Size) -> Task:
    work = SIZES[size]
    begin, length = datetime(2000, 1, 1), timedelta(hours=6 * (work.files * work.steps - 1))
    dates = {"start": begin.isoformat(), "end": (begin + length).isoformat(), "frequency": "6h"}
    chunks = {"time": min(12, work.steps), "latitude": -1, "longitude": -1}
    zarr_options = {"variables": NAMES, "stack": True, "rows": 1}

    def blocks(arrays: Sequence[Any]) -> Iterator[Block]:
        """Steps of one file at a time, variable by variable."""
        for name, array in zip(NAMES, arrays, strict=True):
            yield from _steps(name, array, work.steps)

    def dataset(target: Path) -> Iterator[Block]:
        with restored(target) as found:
            yield from blocks([found[name] for name in NAMES])

    def group(target: Path) -> Iterator[Block]:
        with xr.open_zarr(target, chunks=None, decode_times=False, consolidated=False) as found:
            yield from blocks([found[name] for name in NAMES])

    def stacked(target: Path) -> Iterator[Block]:
        array = zarr.open_array(target, mode="r")
        yield from blocks([_Variable(array, number) for number in range(len(NAMES))])

    def anemoi(target: Path) -> Iterator[Block]:
        """Shape: (time, variable, member, cell)."""
        found = zarr.open_group(target / "dataset.zarr", mode="r")
        order: list[str] = found.attrs["variables"]  # type: ignore[assignment]
        grid = (work.latitudes, work.longitudes)
        yield from blocks([_Variable(found["data"], order.index(name), grid) for name in NAMES])

    arms = {
        "maelio": Arm("by_maelio", dataset),
        "floor": Arm("by_floor", None),
        "h5py + zarr, 2 processes": Arm("by_h5py", stacked, zarr_options),
        "xarray to_zarr": Arm(
            "by_xarray", group, {"engine": "netcdf4", "chunks": chunks, "shard": chunks["time"]}
        ),
        "anemoi-datasets": Arm(
            "by_anemoi", anemoi, {"dates": dates, "variables": NAMES}, environment="anemoi"
        ),
    }
    return Task(work, truth, arms)


def truth(paths: Sequence[Path]) -> Iterator[Block]:
    for name in NAMES:
        for path in paths:
            with netCDF4.Dataset(path) as file:
                file.set_auto_mask(False)
                yield f"{name} in {path.name}", file[name][:]


def _steps(name: str, array: Any, steps: int) -> Iterator[Block]:
    for first in range(0, len(array), steps):
        yield name, np.asarray(array[first : first + steps])


class _Variable:
    """One variable of an array (time, variable, ...), as an array of maps."""

    def __init__(self, array: Any, number: int, grid: tuple[int, int] | None = None) -> None:
        self._array, self._number, self._grid = array, number, grid

    def __len__(self) -> int:
        return int(self._array.shape[0])

    def __getitem__(self, steps: slice) -> NDArray[Any]:
        found = np.asarray(self._array[steps, self._number])
        return found.reshape(len(found), *self._grid) if self._grid else found

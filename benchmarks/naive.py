"""The first thing a scientist writes: xarray over NetCDF in a torch DataLoader.

It is what `maelio.stream` is compared with, so it is written as one would, not slowed down.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class NaiveWindows(Dataset[NDArray[np.float32]]):
    """Windows of consecutive steps of one variable, each read when asked for.

    Window i: (step, latitude, longitude), the variable's unit; its first step is row i.
    """

    def __init__(self, path: Path, variable: str, steps: int) -> None:
        self.data: xr.Dataset = xr.open_dataset(path)
        self.variable = variable
        self.steps = steps

    def __len__(self) -> int:
        return int(self.data.sizes["time"]) - self.steps + 1

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        window = self.data[self.variable].isel(time=slice(index, index + self.steps))
        values: NDArray[np.float32] = window.values
        return values

    def close(self) -> None:
        self.data.close()


def naive_epoch(windows: NaiveWindows, order: Sequence[int], batch_size: int) -> "DataLoader[Any]":
    """Batches of (sample, step, latitude, longitude) in the given order, the last one as short as it is."""
    return DataLoader(windows, batch_size=batch_size, sampler=order, num_workers=0)


def as_it_is(batch: Tensor) -> Tensor:
    return batch

"""What a scientist writes first: xarray over the NetCDF files in a torch `DataLoader`, and no conversion."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch.utils.data import DataLoader, Dataset


class Samples(Dataset[Any]):
    def __init__(self, dataset: xr.Dataset, names: list[str]) -> None:
        self.dataset, self.names = dataset, names

    def __len__(self) -> int:
        return len(self.dataset[self.names[0]])

    def __getitem__(self, index: int) -> Any:
        return np.stack([self.dataset[name][index].values for name in self.names])


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterable[torch.Tensor]]:
    dataset = xr.open_mfdataset(
        sorted(folder.glob("*.nc")), combine="nested", concat_dim=given["dimension"], decode_times=False
    )
    samples = Samples(dataset, given["variables"])

    def epoch(number: int) -> Iterable[torch.Tensor]:
        order = np.random.default_rng([0, number]).permutation(len(samples))[: given["samples"]]
        return DataLoader(samples, batch_size=given["batch_size"], sampler=order.tolist())

    return epoch

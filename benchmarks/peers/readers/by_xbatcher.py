"""xbatcher: a `BatchGenerator` of single samples of a Zarr store in xarray, its `MapDataset` in a torch `DataLoader`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch.utils.data import DataLoader


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterable[torch.Tensor]]:
    import xbatcher
    from xbatcher.loaders.torch import MapDataset

    array = xr.open_zarr(folder, chunks=None, consolidated=False)["samples"][: given["samples"]]
    sizes = {str(name): size for name, size in array.sizes.items()}
    samples = MapDataset(xbatcher.BatchGenerator(array, {**sizes, "sample": 1}))
    loader = DataLoader(
        samples,
        batch_size=given["batch_size"],
        shuffle=True,
        num_workers=given["workers"],
        persistent_workers=given["workers"] > 0,
    )
    return lambda number: (batch[:, 0] for batch in loader)

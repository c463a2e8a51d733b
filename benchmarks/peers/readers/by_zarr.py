"""zarr-python: a `Dataset` that reads sample i as `array[i]`, in a torch `DataLoader`; `pipeline` "zarrs" decodes by zarrs.

It writes groups with an array `samples`, a sample (or `block` of them) a chunk, not compressed or by Blosc.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader, Dataset
from zarr.codecs import BloscCodec


def write(rows: Any, folder: Path, given: dict[str, Any]) -> None:
    group = zarr.open_group(folder, mode="w")
    blosc = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=rows.dtype.itemsize)
    array = group.create_array(
        "samples",
        shape=rows.shape,
        dtype=rows.dtype,
        chunks=(given["block"], *rows.shape[1:]),
        compressors=[blosc] if given["codec"] == "lz4" else None,
        dimension_names=["sample", *(f"axis{number}" for number in range(1, rows.ndim))],
    )
    for first in range(0, len(rows), given["block"]):
        array[first : first + given["block"]] = rows[first : first + given["block"]]


class Samples(Dataset[Any]):
    """Opened by each process for itself: what zarr-python starts does not live through a fork."""

    def __init__(self, path: str, length: int, pipeline: str | None) -> None:
        self.path, self.length, self.pipeline = path, length, pipeline
        self.array: Any = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if self.array is None:
            if self.pipeline == "zarrs":
                import zarrs  # noqa: F401

                zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
            self.array = zarr.open_array(self.path, mode="r")
        return np.asarray(self.array[index])


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterable[torch.Tensor]]:
    samples = Samples(str(folder / given["array"]), given["samples"], given.get("pipeline"))
    loader = DataLoader(
        samples,
        batch_size=given["batch_size"],
        shuffle=True,
        num_workers=given["workers"],
        persistent_workers=given["workers"] > 0,
    )
    return lambda number: loader

"""LitData: `optimize` to chunks of 64 MB, `StreamingDataset` with `shuffle=True`, `StreamingDataLoader`."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch


def sample(given: dict[str, Any], index: int) -> torch.Tensor:
    rows = np.memmap(given["rows"], np.float32, "r", shape=tuple(given["all"]))
    return torch.from_numpy(rows[index].copy())


def write(rows: Any, folder: Path, given: dict[str, Any]) -> None:
    import litdata

    litdata.optimize(
        partial(sample, given),
        list(range(len(rows))),
        str(folder),
        chunk_bytes="64MB",
        num_workers=given["threads"],
        mode="overwrite",
    )


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterable[torch.Tensor]]:
    import litdata

    dataset = litdata.StreamingDataset(str(folder), shuffle=True, drop_last=False)
    loader = litdata.StreamingDataLoader(
        dataset,
        batch_size=given["batch_size"],
        num_workers=given["workers"],
        persistent_workers=given["workers"] > 0,
    )
    return lambda number: loader

"""MosaicML Streaming: MDS shards of its default size, `StreamingDataset` with `shuffle=True` in a torch `DataLoader`.

The package imports torchvision for data sets of images, and a build that fits this torch need not be there.
"""

import sys
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.utils.data import DataLoader


class _Absent(ModuleType):
    """Has every name that is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def _without_torchvision() -> None:
    """Before `streaming` is imported; this process reads nothing else."""
    for name in ("datasets", "transforms", "transforms.functional"):
        sys.modules[f"torchvision.{name}"] = _Absent(f"torchvision.{name}")
    sys.modules["torchvision"] = _Absent("torchvision")


def write(rows: Any, folder: Path, given: dict[str, Any]) -> None:
    _without_torchvision()
    from streaming import MDSWriter

    shape = ",".join(map(str, rows.shape[1:]))
    with MDSWriter(out=str(folder), columns={"sample": f"ndarray:{rows.dtype.name}:{shape}"}) as writer:
        for row in rows:
            writer.write({"sample": row})


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterable[torch.Tensor]]:
    _without_torchvision()
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=given["batch_size"])
    loader = DataLoader(
        dataset,
        batch_size=given["batch_size"],
        num_workers=given["workers"],
        persistent_workers=given["workers"] > 0,
    )
    return lambda number: (batch["sample"] for batch in loader)

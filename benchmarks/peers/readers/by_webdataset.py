"""webdataset: tar shards of 64 MB with a .npy a sample, shards shuffled, then samples in a buffer, and `WebLoader`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import webdataset

_SHARD_BYTES = 64e6
_BUFFER_BYTES = 200e6  # the documentation shuffles 1000 samples, which here may be 2 GB


def write(rows: Any, folder: Path, given: dict[str, Any]) -> None:
    pattern = str(folder / "%06d.tar")
    with webdataset.ShardWriter(pattern, maxsize=_SHARD_BYTES, verbose=0) as writer:
        for number, row in enumerate(rows):
            writer.write({"__key__": f"{number:08d}", "npy": row})


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterable[torch.Tensor]]:
    shards = sorted(map(str, folder.glob("*.tar")))
    buffer = min(1000, max(given["batch_size"], int(_BUFFER_BYTES / given["row_bytes"])))
    dataset = (
        webdataset.WebDataset(shards, shardshuffle=len(shards), empty_check=False)
        .shuffle(buffer)
        .decode()
        .to_tuple("npy")
        .batched(given["batch_size"])
    )
    loader = webdataset.WebLoader(
        dataset,
        batch_size=None,
        num_workers=given["workers"],
        persistent_workers=given["workers"] > 0,
    )
    return lambda number: (torch.as_tensor(batch) for (batch,) in loader)

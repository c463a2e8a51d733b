"""The limit of small samples: `torch.index_select` of one file in the page cache, mapped, to memory that is used again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterator[torch.Tensor]]:
    torch.set_num_threads(given["threads"])
    mapped = np.memmap(given["rows"], np.float32, "c", shape=tuple(given["all"]))  # torch wants it writable
    rows = torch.from_numpy(mapped)
    size = given["batch_size"]
    batch = torch.zeros(size, *rows.shape[1:])

    def epoch(number: int) -> Iterator[torch.Tensor]:
        order = torch.from_numpy(np.random.default_rng([0, number]).permutation(len(rows)))
        for wanted in order.split(size):
            out = batch[: len(wanted)]
            torch.index_select(rows, 0, wanted, out=out)
            yield out

    return epoch

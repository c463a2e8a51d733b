"""tensorstore: a read a sample, a batch of them at once, copied into memory that is used again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterator[Any]]:
    context = tensorstore.Context({"data_copy_concurrency": {"limit": given["threads"]}})
    path = str(folder / given["array"])
    array = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}, context=context, open=True
    ).result()
    size = given["batch_size"]
    batch = np.zeros((size, *array.shape[1:]), np.float32)

    def epoch(number: int) -> Iterator[Any]:
        order = np.random.default_rng([0, number]).permutation(given["samples"])
        for first in range(0, len(order), size):
            wanted = order[first : first + size].tolist()
            reads = [array[row].read() for row in wanted]
            for place, sample in enumerate(reads):
                batch[place] = sample.result()
            yield batch[: len(wanted)]

    return epoch

"""The limit of what is not compressed: rows of one file in the page cache to memory that is used again, on threads.

Every thread fills batches of its own; `how` is `mapped`, a copy out of a mapping of the file, or `preadv`. With
many threads the latter is also the limit of a disk that is read through the page cache.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from maelio.benchmarks.peers.readers.ahead import Ahead, Array, shuffled


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterator[Array]]:
    rows = np.memmap(given["rows"], np.float32, "r", shape=tuple(given["all"]))
    descriptor = os.open(given["rows"], os.O_RDONLY)

    def mapped(out: Array, wanted: Array) -> None:
        for place, row in enumerate(wanted.tolist()):
            np.copyto(out[place], rows[row])

    def preadv(out: Array, wanted: Array) -> None:
        for place, row in enumerate(wanted.tolist()):
            if os.preadv(descriptor, [out[place]], row * out[place].nbytes) != out[place].nbytes:
                raise EOFError(given["rows"])

    fill = {"mapped": mapped, "preadv": preadv}[given["how"]]
    ahead = Ahead(fill, given["batch_size"], rows.shape[1:], rows.dtype, given["threads"])
    return lambda number: ahead.epoch(shuffled(len(rows), given["batch_size"], number))

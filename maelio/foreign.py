"""Data that were never converted, seen as a store: the same arrays and samples, read where they lie.

Whoever opens such data says how rows of an array are read; batches, order and state are as of any store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from zarr.buffer import cpu
from zarr.storage import MemoryStore

from maelio.store import Store


class Reader(Protocol):
    """Of one array. Several threads may call it at the same time."""

    def __call__(self, rows: range, variable: int, out: NDArray[Any]) -> None:
        """Fill `out` with rows of the variable of this number, decoded. Shape: (row, 1, *rest).

        Raises BadData: they cannot be read; the message names the file. Where it was caused by an OSError, it
        may be tried again.
        """


class Readers(Protocol):
    """What a reader is made of: goes to other processes, opens nothing before `open`."""

    def open(self, array: str) -> Reader:
        """Raises BadData: a file is not what it was when it was looked at."""

    def nbytes(self, array: str, rows: int) -> int:
        """What a thread holds while it reads so many rows of one variable, besides those."""


@dataclass(frozen=True)
class Foreign(Store):
    """Its arrays are what they would be in a store, but for their chunks: each variable is one. No statistics.

    `blocks`: by array, the rows that are decoded together. `coordinates` are the files of a Zarr group, by key, as a
    store has them.
    """

    readers: Readers
    blocks: Mapping[str, int]
    coordinates: Mapping[str, bytes]

    @property
    def group(self) -> MemoryStore:
        root = b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'
        files = {"zarr.json": root, **self.coordinates}
        return MemoryStore({key: cpu.Buffer.from_bytes(content) for key, content in files.items()})

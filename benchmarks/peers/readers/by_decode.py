"""The limit of what is compressed: every sample decoded by numcodecs, out of the page cache to memory that is used again."""

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numcodecs import blosc

from maelio.benchmarks.peers.readers.ahead import Ahead, Array, shuffled
from maelio.store import index_bytes, open_store, places


def read(folder: Path, given: dict[str, Any]) -> Callable[[int], Iterator[Array]]:
    store = open_store(folder)
    (array,) = store.arrays.values()
    if array.chunk_bytes != array.row_bytes:
        raise ValueError(f"{folder}: chunks of {array.chunk_shape}; wanted one row each")
    shards = [mapped(folder / array.shard_key(number)) for number in range(array.shards)]
    end = index_bytes(array.chunks_per_shard)
    indexes = [
        places(bytes(shard[-end:]), chunks=array.chunks_per_shard, end=len(shard) - end) for shard in shards
    ]

    def fill(out: Array, wanted: Array) -> None:
        for place, row in enumerate(wanted.tolist()):
            shard, chunk = divmod(row, array.rows_per_shard)
            offset, length = indexes[shard][chunk].tolist()
            blosc.decompress(shards[shard][offset : offset + length], out[place])

    ahead = Ahead(fill, given["batch_size"], array.chunk_shape[1:], array.dtype, given["threads"])
    return lambda number: ahead.epoch(shuffled(given["samples"], given["batch_size"], number))


def mapped(path: Path) -> memoryview:
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))

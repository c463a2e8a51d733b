"""Write one shard of a store: inner chunks one behind the other, then where each of them lies."""

from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from maelio.chunktable import entries
from maelio.converters import tar, tfrecord
from maelio.converters.chunks import Chunk, chunks
from maelio.store import ABSENT, Shard, StackedArray, pack_index

_PAGE = 4096
_ALIGNED = 64 * 2**10  # uncompressed chunks from this size on start on a page, so that reads copy whole pages


def write_shard(
    array: StackedArray, number: int, block: NDArray[Any], folder: Path
) -> tuple[Shard, Shard | None, bytes]:
    """Encode `block` (sample, variable, *rest) chunk by chunk into the file of shard `number` below `folder`.

    What the shard is, what its index is where that is a file of its own, and its entries of the chunk table.
    """
    path = folder / array.shard_key(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    index = np.full((array.chunks_per_shard, 2), ABSENT)
    checksums = np.zeros(array.chunks_per_shard, np.uint32)
    position, checksum = 0, 0
    with open(path, "wb", buffering=2**16) as file:
        for place, chunk in enumerate(chunks(array, number, block)):
            encoded = array.codec.encode(chunk.values)
            before, after = _around(chunk, encoded, position)
            index[place] = position + len(before), len(encoded)
            checksums[place] = crc32c(encoded)
            for part in (before, encoded, after):
                file.write(part)
                checksum = crc32c(part, checksum)
            position += len(before) + len(encoded) + len(after)
        tail = _end(array, index)
        file.write(tail)
    shard = Shard(bytes=position + len(tail), crc32c=f"{crc32c(tail, checksum):08x}")
    return shard, _write_index(array, number, index, folder), entries(index, checksums)


def _around(chunk: Chunk, encoded: bytes, position: int) -> tuple[bytes, bytes]:
    """What the container has in front of a chunk and behind it."""
    match chunk.array.container:
        case "zarr":
            return bytes(padding(chunk.array, position)), b""
        case "tar":
            return tar.around(chunk, encoded, position, _alignment(chunk.array))
        case "tfrecord":
            return tfrecord.around(chunk, encoded)


def padding(array: StackedArray, position: int) -> int:
    """Bytes between `position` in a Zarr shard and the next chunk."""
    return -position % _alignment(array)


def _alignment(array: StackedArray) -> int:
    return _PAGE if array.codec.name == "none" and array.chunk_bytes >= _ALIGNED else 1


def _end(array: StackedArray, index: NDArray[np.uint64]) -> bytes:
    match array.container:
        case "zarr":
            return pack_index(index)
        case "tar":
            return tar.END
        case "tfrecord":
            return b""


def _write_index(array: StackedArray, number: int, index: NDArray[np.uint64], folder: Path) -> Shard | None:
    key = array.index_key(number)
    if key is None:
        return None
    stored = pack_index(index)
    (folder / key).write_bytes(stored)
    return Shard(bytes=len(stored), crc32c=f"{crc32c(stored):08x}")

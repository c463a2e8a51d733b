"""Write one shard of a store: inner chunks one behind the other, then where each of them lies."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from maelio.store import ABSENT, Shard, StackedArray, pack_index

_PAGE = 4096
_ALIGNED = 64 * 2**10  # uncompressed chunks from this size on start on a page, so that reads copy whole pages


def write_shard(array: StackedArray, number: int, block: NDArray[Any], folder: Path) -> Shard:
    """Encode `block` (sample, variable, *rest) chunk by chunk into the file of shard `number` below `folder`."""
    path = folder / array.shard_key(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    index = np.full((array.chunks_per_shard, 2), ABSENT)
    align = array.codec.name == "none" and array.chunk_bytes >= _ALIGNED
    position, checksum = 0, 0
    with open(path, "wb", buffering=2**20) as file:
        for place, chunk in enumerate(_chunks(array, block)):
            encoded = array.codec.encode(chunk)
            padding = bytes(-position % _PAGE) if align else b""
            index[place] = position + len(padding), len(encoded)
            for part in (padding, encoded):
                file.write(part)
                checksum = google_crc32c.extend(checksum, part)
            position += len(padding) + len(encoded)
        tail = pack_index(index)
        file.write(tail)
    return Shard(bytes=position + len(tail), crc32c=f"{google_crc32c.extend(checksum, tail):08x}")


def _chunks(array: StackedArray, block: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Inner chunks in the order of the index: rows first, then pieces; the last rows are padded."""
    rows, width = array.chunk
    for first in range(0, len(block), rows):
        part = block[first : first + rows]
        if len(part) < rows:
            padded = np.full((rows, *array.row_shape), array.fill_value, array.dtype)
            padded[: len(part)] = part
            part = padded
        for piece in range(0, array.shape[1], width):
            yield np.ascontiguousarray(part[:, piece : piece + width])

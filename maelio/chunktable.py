"""Where every chunk of an array lies, and its checksum, in one file: to know them no shard need be opened.

    u64 offset      of the chunk, from the beginning of its shard; 2^64 - 1 where there is none
    u64 length      bytes of the chunk as the codec made it; 2^64 - 1 where there is none
    u32 crc32c      of those bytes; 0 where there is none

An entry has 20 bytes, little-endian. There is one for each chunk of a full shard, shard after shard, in the order of
their indexes. Size and CRC-32C of the file stand in the metadata of the store, as those of the shards do.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from maelio.errors import BadData, NotPermitted
from maelio.store import Store, index_bytes, signed

_ENTRY = np.dtype([("offset", "<u8"), ("length", "<u8"), ("crc32c", "<u4")])


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTable:
    """Of one array. `places` are offset and length in bytes, -1 twice where there is no chunk; `checksums` CRC-32C.

    Shape: places (shard, chunk, 2), int64; checksums (shard, chunk), uint32.
    """

    places: NDArray[np.int64]
    checksums: NDArray[np.uint32]


def entries(index: NDArray[np.uint64], checksums: NDArray[np.uint32]) -> bytes:
    """The entries of one shard. Shape: index (chunk, 2), as `pack_index` takes it; checksums (chunk,)."""
    found = np.empty(len(index), _ENTRY)
    found["offset"], found["length"] = index.T
    found["crc32c"] = checksums
    return found.tobytes()


def read_table(store: Store, name: str) -> ChunkTable | None:
    """Of the array `name`. None: a store of an earlier maelio, which has no such file.

    Raises:
        BadData: the file is missing, damaged, or points behind the end of a shard.
        NotPermitted: it may not be read.
    """
    array, stack = store.arrays[name], store.contents.stacks[name]
    if stack.table is None:
        return None
    path = store.path / array.table_key
    stored = _content(path)
    if (found := f"{crc32c(stored):08x}") != stack.table.crc32c:
        raise BadData(f"{path}: checksum {found} of {len(stored)} bytes, wanted {stack.table.crc32c}")
    chunks = len(stack.shards) * array.chunks_per_shard
    if len(stored) != chunks * _ENTRY.itemsize:
        raise BadData(f"{path} has {len(stored)} bytes, wanted {_ENTRY.itemsize} for each of {chunks} chunks")
    table = np.frombuffer(stored, _ENTRY).reshape(len(stack.shards), array.chunks_per_shard)
    ends = np.array([shard.bytes for shard in stack.shards], np.uint64)
    if array.container == "zarr":
        ends -= np.uint64(index_bytes(array.chunks_per_shard))
    try:
        places = signed(np.stack([table["offset"], table["length"]], axis=-1), ends[:, None])
    except BadData as error:
        raise BadData(f"{path}: {error}") from error
    return ChunkTable(places, table["crc32c"].astype(np.uint32))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BadData(f"{path} is missing") from error
    except PermissionError as error:
        raise NotPermitted(f"{path}: {error.strerror}") from error
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror}") from error

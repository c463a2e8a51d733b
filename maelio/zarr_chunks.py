"""Where the chunks of a Zarr array lie in a local folder, and how each is decoded: read by offset, in any thread.

zarr-python parses the metadata; what stands in it becomes a value here, for the codecs that are known. A chunk
that is not there holds the fill value.

Source: Zarr v2 specification; Zarr v3 core, its chunk grid `regular`, chunk key encodings `default` and `v2`, codecs
`bytes`, `transpose`, `blosc`, `gzip`, `zstd`, `crc32c` and `sharding_indexed` 1.0; the codecs of numcodecs.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadData
from maelio.packed import Filter, Packed, pread
from maelio.store import ABSENT, index_bytes, unpack_index

Index = tuple[int, ...]  # of a chunk, by axis

_LARGEST = 2**31 - 2**10  # bytes of what Blosc, Zstandard and LZ4 decode at once
_COMPRESSORS: Mapping[str, Filter] = {
    "zlib": "deflate",
    "gzip": "gzip",
    "zstd": "zstd",
    "lz4": "lz4",
    "blosc": "blosc",
}
_ENTRY_BYTES = 16  # of a shard's index: offset and length


@dataclass(frozen=True, slots=True)
class Shards:
    """Files that hold several chunks: so many along each axis, and where each lies at the `index` side of the file."""

    chunks: tuple[int, ...]
    index: Literal["start", "end"]
    checked: bool

    @property
    def index_bytes(self) -> int:
        count = prod(self.chunks)
        return index_bytes(count) if self.checked else count * _ENTRY_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class ZarrChunks:
    """The chunks of one array.

    `shape` is that of a chunk, and `array` the whole array's. `dtype` has the byte order of the files. Within a chunk
    the axes lie in `order`, the slowest first. `filters` made its bytes, in this order, of items of `itemsize` bytes.
    A file is `prefix` and its numbers, joined by `separator`: of one chunk, or of one of `shards`.
    """

    shape: tuple[int, ...]
    array: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: np.generic
    order: tuple[int, ...]
    filters: tuple[Filter, ...]
    itemsize: int
    prefix: str
    separator: str
    shards: Shards | None

    @property
    def bytes(self) -> int:
        """Of one chunk, decoded."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def index_bytes(self) -> int:
        """Held at most while a file of several chunks is looked up: its index as stored, without its checksum, as numbers."""
        return 3 * self.shards.index_bytes if self.shards else 0

    @property
    def per_file(self) -> tuple[int, ...]:
        """Chunks of one file along each axis."""
        return self.shards.chunks if self.shards else (1,) * len(self.shape)

    def key(self, file: Index) -> str:
        return self.prefix + self.separator.join(map(str, file))


def read_packed(
    chunks: ZarrChunks, folder: int, wanted: Sequence[Sequence[int]]
) -> Iterator[tuple[Index, Packed | None]]:
    """Every chunk at the `wanted` indexes of each axis, each file opened once; None where it is not there.

    `folder` is an open descriptor of the folder that keys start from. What is yielded can be decoded until the next
    is asked for.

    Raises BadData: naming the file, which cannot be read, or whose index is damaged.
    """
    split = [list(_by_file(*each)) for each in zip(wanted, chunks.per_file, strict=True)]
    for parts in product(*split):
        file = tuple(number for number, _ in parts)
        yield from _of_file(chunks, folder, file, product(*(numbers for _, numbers in parts)))


def _by_file(numbers: Sequence[int], per_file: int) -> Iterator[tuple[int, list[int]]]:
    """Along one axis: files, and the wanted chunks in each."""
    for file, group in groupby(numbers, lambda number: number // per_file):
        yield file, list(group)


def _of_file(
    chunks: ZarrChunks, folder: int, file: Index, wanted: Iterator[Index]
) -> Iterator[tuple[Index, Packed | None]]:
    key = chunks.key(file)
    try:
        fd = os.open(key, os.O_RDONLY, dir_fd=folder)
    except FileNotFoundError:
        yield from ((index, None) for index in wanted)
        return
    except OSError as error:
        raise BadData(f"chunk {key} cannot be opened: {error.strerror}") from error
    try:
        size = os.fstat(fd).st_size
        if chunks.shards is None:
            yield from ((index, _packed(chunks, key, fd, 0, size)) for index in wanted)
            return
        table = _index(chunks.shards, key, fd, size)
        for index in wanted:
            within = tuple(at % count for at, count in zip(index, chunks.shards.chunks, strict=True))
            offset, length = map(int, table[within])
            if offset == length == ABSENT:
                yield index, None
            elif offset + length > size:
                raise BadData(f"chunk {key}: its index points to byte {offset + length} of {size}")
            else:
                name = f"{key} at byte {offset}"
                yield index, _packed(chunks, name, fd, offset, length)
    finally:
        os.close(fd)


def _packed(chunks: ZarrChunks, name: str, fd: int, offset: int, size: int) -> Packed:
    return Packed(name, fd, offset, size, chunks.filters, chunks.itemsize)


def _index(shards: Shards, key: str, fd: int, size: int) -> NDArray[np.uint64]:
    """Offset and length of every chunk of a shard, by axis. Raises BadData: the file has no such index."""
    wanted = shards.index_bytes
    if size < wanted:
        raise BadData(f"chunk {key}: it holds {size} bytes, wanted {wanted} of its index alone")
    try:
        stored = pread(fd, wanted, 0 if shards.index == "start" else size - wanted)
        table = unpack_index(stored) if shards.checked else np.frombuffer(stored, "<u8")
    except BadData as error:
        raise BadData(f"chunk {key}: {error}") from error
    return table.reshape(*shards.chunks, 2)


class Unknown(Exception):
    """Metadata that is left to zarr-python; the message says what of it is not known here."""


def zarr_chunks(
    metadata: Mapping[str, Any], folder: str, dtype: np.dtype[Any], fill: np.generic | None
) -> ZarrChunks:
    """What the `metadata` of an array, as JSON, says about its chunks, which lie below `folder`.

    `dtype` and `fill` are as zarr-python reads them from there.

    Raises Unknown.
    """
    if dtype.kind not in "fiu":
        raise Unknown(f"dtype {dtype}")
    if not metadata["shape"] or 0 in metadata["shape"]:
        raise Unknown("no values along an axis")
    made = _version_2 if metadata["zarr_format"] == 2 else _version_3
    found = made(metadata, folder, dtype, dtype.type(0) if fill is None else fill)
    if found.bytes > _LARGEST:
        raise Unknown(f"chunks of {found.bytes} bytes")
    return found


def _version_2(
    metadata: Mapping[str, Any], folder: str, dtype: np.dtype[Any], fill: np.generic
) -> ZarrChunks:
    shape = tuple(metadata["chunks"])
    axes = tuple(range(len(shape)))
    steps = [*(metadata["filters"] or ()), *filter(None, [metadata["compressor"]])]
    filters, itemsize = _filters([(step["id"], step) for step in steps], dtype)
    return ZarrChunks(
        shape=shape,
        array=tuple(metadata["shape"]),
        dtype=dtype,
        fill=fill,
        order=axes if metadata["order"] == "C" else axes[::-1],
        filters=filters,
        itemsize=itemsize,
        prefix=f"{folder}/",
        separator=metadata["dimension_separator"],
        shards=None,
    )


def _version_3(
    metadata: Mapping[str, Any], folder: str, dtype: np.dtype[Any], fill: np.generic
) -> ZarrChunks:
    grid, keys = metadata["chunk_grid"], metadata["chunk_key_encoding"]
    if grid["name"] != "regular":
        raise Unknown(f"chunk grid {grid['name']!r}")
    if metadata.get("storage_transformers"):
        raise Unknown("storage transformers")
    if keys["name"] not in ("default", "v2"):
        raise Unknown(f"chunk key encoding {keys['name']!r}")
    usual = "/" if keys["name"] == "default" else "."
    separator = keys.get("configuration", {}).get("separator", usual)
    shape, shards = tuple(grid["configuration"]["chunk_shape"]), None
    codecs = _named(metadata["codecs"])
    if [name for name, _ in codecs] == ["sharding_indexed"]:
        shape, codecs, shards = _sharded(shape, codecs[0][1])
    order = tuple(range(len(shape)))
    if codecs and codecs[0][0] == "transpose":
        order, codecs = tuple(codecs[0][1]["order"]), codecs[1:]
    if not codecs or codecs[0][0] != "bytes":
        raise Unknown(f"codecs {', '.join(name for name, _ in codecs)}")
    endian = codecs[0][1].get("endian") or "little"
    stored = dtype.newbyteorder("<" if endian == "little" else ">")
    filters, itemsize = _filters(codecs[1:], dtype)
    return ZarrChunks(
        shape=shape,
        array=tuple(metadata["shape"]),
        dtype=stored,
        fill=fill,
        order=order,
        filters=filters,
        itemsize=itemsize,
        prefix=f"{folder}/c{separator}" if keys["name"] == "default" else f"{folder}/",
        separator=separator,
        shards=shards,
    )


_Codecs = list[tuple[str, Mapping[str, Any]]]  # name and configuration


def _named(codecs: Sequence[Mapping[str, Any]]) -> _Codecs:
    return [(codec["name"].removeprefix("numcodecs."), codec.get("configuration") or {}) for codec in codecs]


def _sharded(
    whole: tuple[int, ...], configuration: Mapping[str, Any]
) -> tuple[tuple[int, ...], _Codecs, Shards]:
    """The shape and the codecs of a chunk, and how shards of the shape `whole` hold chunks."""
    shape = tuple(configuration["chunk_shape"])
    names = [name for name, _ in _named(configuration["index_codecs"])]
    endian = configuration["index_codecs"][0].get("configuration", {}).get("endian", "little")
    if names not in (["bytes"], ["bytes", "crc32c"]) or endian != "little":
        raise Unknown(f"a shard's index in codecs {', '.join(names)}")
    counts = tuple(size // length for size, length in zip(whole, shape, strict=True))
    side = configuration.get("index_location", "end")
    return shape, _named(configuration["codecs"]), Shards(counts, side, "crc32c" in names)


def _filters(codecs: _Codecs, dtype: np.dtype[Any]) -> tuple[tuple[Filter, ...], int]:
    """What made bytes of bytes, in this order, and the bytes of an item for `shuffle`."""
    found: list[Filter] = []
    itemsize = 1
    for name, configuration in codecs:
        if name in _COMPRESSORS:
            found.append(_COMPRESSORS[name])
        elif name == "crc32c" and configuration.get("location", "end") == "end":
            found.append("crc32c")
        elif name == "shuffle" and not found:
            found.append("shuffle")
            itemsize = configuration.get("elementsize", dtype.itemsize)
        else:
            raise Unknown(f"codec {name!r}")
    if sum(name in _COMPRESSORS.values() for name in found) > 1:
        raise Unknown("several compressors")
    if itemsize < 1 or dtype.itemsize % itemsize:
        raise Unknown(f"items of {itemsize} bytes shuffled")
    return tuple(found), itemsize

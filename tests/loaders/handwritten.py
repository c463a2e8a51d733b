"""Stores written by hand from numpy arrays, by the letter of the contract and without a converter."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numpy.typing import NDArray

from maelio.codecs import Codec, CodecName
from maelio.store import (
    ABSENT,
    Contents,
    Shard,
    Stack,
    StackedArray,
    Statistics,
    pack_index,
    root_files,
)

Array = NDArray[Any]


@dataclass(frozen=True)
class Layout:
    """How one array is cut: rows, variables and `length` of a chunk, chunks along the rows of a shard."""

    rows: int = 1
    width: int | None = None
    chunks: int = 3
    codec: CodecName = "lz4"
    length: int | None = None


def write_store(
    path: Path,
    arrays: dict[str, Array],
    layout: Layout = Layout(),
    absent: int = -1,
    statistics: Mapping[str, Statistics] = {},
    levels: Mapping[str, Array] = {},
    table: bool = True,
) -> Path:
    """Publish `arrays`, each (sample, variable, *rest); chunk row `absent` is left out of the shards.

    `statistics` are by variable, of all arrays; `levels` are vertical coordinates by dimension. Without `table`
    it is a store of an earlier maelio.
    """
    stacks, metadata, coordinates = {}, {}, {}
    for name, values in arrays.items():
        array = describe(name, values, layout)
        made = [write_shard(path, array, values, shard, absent) for shard in range(array.shards)]
        chunks = b"".join(entries for _, entries in made)
        if table:
            (path / name / "chunks").write_bytes(chunks)
        of_array = {key: statistics[key] for key in array.variables if key in statistics}
        stacks[name] = Stack(
            variables=array.variables,
            statistics=of_array,
            shards=tuple(shard for shard, _ in made),
            table=checked(chunks) if table else None,
        )
        metadata[name] = array.to_zarr({})
    for name, values in levels.items():
        zarr.create_array(path / name, data=values, attributes={"positive": "down"})
        coordinates[name] = json.loads((path / name / "zarr.json").read_text())
    contents = Contents(
        version="0",
        sample_dimension="time",
        stacks=stacks,
        variables={},
        attributes={},
        sources=(),
        options={},
    )
    for key, content in root_files(contents, {}, metadata, coordinates).items():
        (path / key).write_bytes(content)
    return path


def describe(name: str, values: Array, layout: Layout) -> StackedArray:
    return StackedArray(
        name=name,
        variables=tuple(f"v{number}" for number in range(values.shape[1])),
        dimensions=("time", "variable", *(f"d{axis}" for axis in range(values.ndim - 2))),
        shape=values.shape,
        dtype=values.dtype,
        chunk=(layout.rows, layout.width or values.shape[1]),
        rows_per_shard=layout.rows * layout.chunks,
        codec=Codec(layout.codec),
        length=layout.length if values.ndim > 2 and (layout.length or 0) < values.shape[2] else None,
    )


def write_shard(
    path: Path, array: StackedArray, values: Array, shard: int, absent: int
) -> tuple[Shard, bytes]:
    """The shard, and its entries of the table of chunks."""
    index = np.full((array.chunks_per_shard, 2), ABSENT)
    checksums = [0] * array.chunks_per_shard
    body = b""
    rows, width = array.chunk
    for start in array.rows_of(shard)[::rows]:
        for piece, cut in np.ndindex(array.pieces, array.cuts):
            if start // rows == absent:
                continue
            chunk = np.zeros(array.chunk_shape, array.dtype)
            there = values[start : start + rows, piece * width : (piece + 1) * width]
            if array.length:
                there = there[:, :, cut * array.length : (cut + 1) * array.length]
            chunk[tuple(map(slice, there.shape))] = there
            stored = array.codec.encode(chunk)
            block = (start - shard * array.rows_per_shard) // rows
            number = (block * array.pieces + piece) * array.cuts + cut
            index[number] = len(body), len(stored)
            checksums[number] = google_crc32c.value(stored)
            body += stored
    body += pack_index(index)
    file = path / array.shard_key(shard)
    file.parent.mkdir(parents=True)
    file.write_bytes(body)
    entries = (struct.pack("<QQI", *place, crc) for place, crc in zip(index.tolist(), checksums, strict=True))
    return checked(body), b"".join(entries)


def checked(content: bytes) -> Shard:
    return Shard(bytes=len(content), crc32c=f"{google_crc32c.value(content):08x}")


def field(samples: int, *row_shape: int, dtype: str = "float32") -> Array:
    """Values that all differ. Shape: (samples, *row_shape)."""
    count = samples * int(np.prod(row_shape))
    return np.arange(count).astype(dtype).reshape(samples, *row_shape)

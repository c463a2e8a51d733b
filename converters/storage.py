"""Where a variable's values lie in a file, and how to read a range of rows without the file's library.

`Rows` and `Chunks` are tables of byte positions made once by the planner; reading is `os.pread` in any
thread. A *row* is one index along the sample axis.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import deflate
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from maelio.errors import BadData

Filter = Literal["shuffle", "deflate"]

MOST_AT_ONCE = 16 * 2**20  # bytes of one read: bounds the memory of a strided or chunk-less variable


@dataclass(frozen=True, slots=True)
class Rows:
    """Row r of the leading axis lies in one piece at byte `offset + r * stride`."""

    offset: int
    stride: int


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """The chunk table of an HDF5 dataset.

    Shapes: `starts` (chunk, axis) first index along each axis; `offsets`, `sizes` (chunk,) bytes in the file;
    `skipped` (chunk,) HDF5's filter mask, bit i set where filter i was left out. `filters` are in the order
    they were applied. A chunk without an entry holds `fill`.
    """

    shape: tuple[int, ...]
    starts: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    skipped: NDArray[np.int64]
    filters: tuple[Filter, ...]
    fill: np.generic


@dataclass(frozen=True, slots=True)
class Slow:
    """Read through the file's own library, one thread at a time. `reason` tells the user why."""

    reason: str


Storage = Rows | Chunks | Slow


def read_rows(
    fd: int, storage: Rows | Chunks, dtype: np.dtype[Any], axis: int, rows: range, out: NDArray[Any]
) -> None:
    """Fill `out`, the variable's shape with `rows` along `axis`, any strides, values cast from `dtype`.

    Raises BadData: the file ended early, or a chunk does not decompress to its size.
    """
    match storage:
        case Rows():
            if axis != 0:
                raise ValueError("rows lie in one piece only along the leading axis")
            _read_leading(fd, storage, dtype, rows, out)
        case Chunks():
            _read_chunks(fd, storage, dtype, axis, rows, out)


def _read_leading(fd: int, storage: Rows, dtype: np.dtype[Any], rows: range, out: NDArray[Any]) -> None:
    shape = out.shape[1:]
    size = prod(shape) * dtype.itemsize
    step = max(1, MOST_AT_ONCE // max(storage.stride, 1))
    for first in range(0, len(rows), step):
        count = min(step, len(rows) - first)
        raw = _pread(fd, (count - 1) * storage.stride + size, storage.offset + rows[first] * storage.stride)
        values = np.ndarray(
            (count, *shape), dtype, raw, strides=(storage.stride, *_c_strides(shape, dtype.itemsize))
        )
        np.copyto(out[first : first + count], values, casting="same_kind")


def _c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _read_chunks(
    fd: int, storage: Chunks, dtype: np.dtype[Any], axis: int, rows: range, out: NDArray[Any]
) -> None:
    touched = _touched(storage, axis, rows)
    if len(touched) < _chunks_under(storage, axis, rows, out.shape):
        out[...] = storage.fill
    for number in touched:
        chunk = _decode(fd, storage, int(number), dtype)
        start = storage.starts[number]
        into, taken = [], []
        for dimension, length in enumerate(storage.shape):
            low = rows.start if dimension == axis else 0
            first = max(int(start[dimension]), low)
            stop = min(int(start[dimension]) + length, low + out.shape[dimension])
            into.append(slice(first - low, stop - low))
            taken.append(slice(first - int(start[dimension]), stop - int(start[dimension])))
        np.copyto(out[tuple(into)], chunk[tuple(taken)], casting="same_kind")


def _touched(storage: Chunks, axis: int, rows: range) -> NDArray[np.intp]:
    starts = storage.starts[:, axis]
    return np.flatnonzero((starts < rows.stop) & (starts + storage.shape[axis] > rows.start))


def _chunks_under(storage: Chunks, axis: int, rows: range, shape: tuple[int, ...]) -> int:
    """How many chunks the requested rows have when none is missing."""
    counts = [-(-size // length) for size, length in zip(shape, storage.shape, strict=True)]
    counts[axis] = (rows.stop - 1) // storage.shape[axis] - rows.start // storage.shape[axis] + 1
    return prod(counts)


def _decode(fd: int, storage: Chunks, number: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    raw = _pread(fd, int(storage.sizes[number]), int(storage.offsets[number]))
    size = prod(storage.shape) * dtype.itemsize
    for step in _undo(storage.filters, int(storage.skipped[number])):
        if step == "deflate":
            try:
                raw = bytes(deflate.zlib_decompress(raw, size))
            except deflate.DeflateError as error:
                raise BadData(f"chunk {number} does not decompress: {error}") from error
        else:
            raw = unshuffle(raw, dtype.itemsize)
    if len(raw) != size:
        raise BadData(f"chunk {number} holds {len(raw)} bytes, wanted {size}")
    return np.frombuffer(raw, dtype).reshape(storage.shape)


def _undo(filters: tuple[Filter, ...], skipped: int) -> Iterator[Filter]:
    for number in reversed(range(len(filters))):
        if not skipped >> number & 1:
            yield filters[number]


def unshuffle(shuffled: bytes, itemsize: int) -> bytes:
    """Undo HDF5's byte shuffle: all first bytes, then all second bytes, ... become items again.

    Blosc has the fastest unshuffle at hand, so the bytes are given to it as the body of an uncompressed
    frame whose header says "shuffled". Source: Blosc 1 chunk format (README_CHUNK_FORMAT).
    """
    if itemsize == 1:
        return shuffled
    size = len(shuffled)
    if size % itemsize:
        raise BadData(f"a shuffled chunk of {size} bytes does not hold whole items of {itemsize} bytes")
    version, lz_version, do_shuffle_no_split = 2, 1, 0x11
    frame = b"".join((
        bytes((version, lz_version, do_shuffle_no_split, itemsize)),
        size.to_bytes(4, "little"),  # bytes of the data,
        size.to_bytes(4, "little"),  # of its only block,
        (size + 24).to_bytes(4, "little"),  # of the frame
        (20).to_bytes(4, "little"),  # the block starts behind this table,
        size.to_bytes(4, "little"),  # and is stored, since it is as long as the data
        shuffled,
    ))  # fmt: skip
    return bytes(blosc.decompress(frame))


def _pread(fd: int, size: int, offset: int) -> bytes:
    raw = os.pread(fd, size, offset)
    while len(raw) < size:  # a signal, or more than the kernel gives at once
        more = os.pread(fd, size - len(raw), offset + len(raw))
        if not more:
            raise BadData(f"the file ends at byte {offset + len(raw)}, wanted {offset + size}")
        raw = b"".join((raw, more))
    return raw

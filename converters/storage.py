"""Where a variable's values lie in a file, and how to read a range of rows without the file's library.

`Rows`, `Chunks` and `Messages` are tables of byte positions made once by the planner; reading is `os.pread`
in any thread. A *row* is one index along the sample axis.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from math import prod
from types import MappingProxyType
from typing import Any, Literal

import deflate
import numpy as np
from numcodecs import blosc, zstd
from numcodecs.fletcher32 import Fletcher32
from numpy.typing import NDArray

from maelio.codecs import Codec
from maelio.converters.grib_scan import Scan
from maelio.errors import BadData

Filter = Literal["shuffle", "deflate", "zstd", "blosc", "fletcher32"]

MOST_AT_ONCE = 16 * 2**20  # bytes of one read: bounds the memory of a strided or chunk-less variable
_MANY_CUTS = 64
_WORTH_A_CALL = 64 * 2**10  # bytes from which on a part of a row is read alone


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
    """Read through the file's own library, one thread at a time. `reason` tells the user why.

    `by_h5py`: in a NetCDF4 file, by h5py, which knows more filters than the NetCDF library. `chunks` is the shape of
    the file's chunks, where it has any: the library decodes whole ones.
    """

    reason: str
    by_h5py: bool = False
    chunks: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """No library that is installed can read it. `reason` says why, and what to install."""

    reason: str
    filter: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a GRIB file: `pieces` (offset, length) that, one behind the other, are its message.

    `number` counts the file's messages from 1.
    """

    number: int
    pieces: tuple[tuple[int, int], ...]

    @property
    def bytes(self) -> int:
        return sum(length for _, length in self.pieces)


@dataclass(frozen=True, slots=True, eq=False)
class Messages:
    """A GRIB message for every index along the variable's leading dimensions; the others are its grid.

    Shape: `fields` is an object array of `Field` over the leading dimensions; None where a message is missing.
    """

    fields: NDArray[np.object_]
    scan: Scan

    @property
    def largest(self) -> int:
        """Bytes of the largest message."""
        return max(int(field.bytes) for field in self.fields.ravel().tolist() if field is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Known already: a coordinate that was made from the headers of messages."""

    values: NDArray[Any]


Storage = Rows | Chunks | Slow | Unreadable | Messages | Held


@dataclass(frozen=True, slots=True)
class Part:
    """What is taken of a dimension that has `size` indexes: ranges, in the order in which they are wanted."""

    size: int
    ranges: tuple[range, ...]

    def __len__(self) -> int:
        return sum(map(len, self.ranges))

    @property
    def span(self) -> range:
        """From the first wanted index to the last."""
        return range(min(r.start for r in self.ranges), max(r.stop for r in self.ranges))

    @property
    def within_span(self) -> "Part":
        """The same, of the span alone."""
        first, size = self.span.start, len(self.span)
        return Part(size, tuple(range(r.start - first, r.stop - first) for r in self.ranges))

    def take(self, places: range) -> "Part":
        """Of the wanted indexes only those at `places`."""
        taken, first = [], 0
        for r in self.ranges:
            here = range(max(places.start - first, 0), min(places.stop - first, len(r)))
            if here:
                taken.append(range(r.start + here.start, r.start + here.stop))
            first += len(r)
        return Part(self.size, tuple(taken))

    @property
    def mirrored(self) -> "Part":
        """The same of the dimension from its end, to be written from the last index to the first."""
        return Part(
            self.size, tuple(range(self.size - r.stop, self.size - r.start) for r in reversed(self.ranges))
        )

    def indexes(self) -> NDArray[np.int64]:
        return np.concatenate([np.arange(r.start, r.stop) for r in self.ranges])


Parts = Mapping[int, Part]  # by axis; of other axes everything is taken


def take(values: NDArray[Any], parts: Parts) -> NDArray[Any]:
    """`parts` of an array: a view where each is one range."""
    for axis, part in parts.items():
        if len(part.ranges) > 1:
            values = values.take(part.indexes(), axis)
        else:
            values = values[(slice(None),) * axis + (slice(part.span.start, part.span.stop),)]
    return values


def read_rows(
    fd: int,
    storage: Rows | Chunks,
    dtype: np.dtype[Any],
    axis: int,
    rows: range,
    out: NDArray[Any],
    parts: Parts = MappingProxyType({}),
) -> None:
    """Fill `out`, the variable's shape with `rows` along `axis` and `parts` along others, any strides.

    Values are cast from `dtype`. A chunk is read once, and only where something of it is wanted.

    Raises BadData: the file ended early, or a chunk does not decompress to its size.
    """
    match storage:
        case Rows():
            if axis != 0:
                raise ValueError("rows lie in one piece only along the leading axis")
            _read_leading(fd, storage, dtype, rows, out, parts)
        case Chunks():
            wanted = {**parts, axis: Part(rows.stop, (rows,))}
            _read_chunks(fd, storage, dtype, wanted, out)


def _read_leading(
    fd: int, storage: Rows, dtype: np.dtype[Any], rows: range, out: NDArray[Any], parts: Parts
) -> None:
    whole = tuple(parts[axis].size if axis in parts else size for axis, size in enumerate(out.shape))[1:]
    strides = _c_strides(whole, dtype.itemsize)
    begin, shape = storage.offset, whole
    if 1 in parts:  # of each row, from the first wanted byte to the last
        begin += parts[1].span.start * strides[0]
        shape = (len(parts[1].span), *whole[1:])
    size = prod(shape) * dtype.itemsize
    alone = shape != whole and size >= _WORTH_A_CALL
    step = 1 if alone else max(1, MOST_AT_ONCE // max(storage.stride, 1))
    for first in range(0, len(rows), step):
        count = min(step, len(rows) - first)
        raw = pread(fd, (count - 1) * storage.stride + size, begin + rows[first] * storage.stride)
        values = np.ndarray((count, *shape), dtype, raw, strides=(storage.stride, *strides))
        axes = [_whole(count), *(_whole(size) for size in shape)]
        for axis, part in parts.items():
            axes[axis] = list(_overlaps(part.ranges, part.span.start if axis == 1 else 0, shape[axis - 1]))
        _scatter(values, axes, out[first : first + count])
        del raw, values  # before the next ones are there


Cut = tuple[slice, slice]  # where values go to in the output, and where they are taken from


def _whole(size: int) -> list[Cut]:
    return [(slice(size), slice(size))]


def _overlaps(ranges: Sequence[range], start: int, length: int) -> Iterator[Cut]:
    """Where `ranges`, one behind the other in the output, meet what holds `length` indexes from `start`."""
    into = 0
    for wanted in ranges:
        first, stop = max(start, wanted.start), min(start + length, wanted.stop)
        if first < stop:
            shift = into - wanted.start
            yield slice(first + shift, stop + shift), slice(first - start, stop - start)
        into += len(wanted)


def _scatter(values: NDArray[Any], axes: Sequence[Sequence[Cut]], out: NDArray[Any]) -> None:
    if prod(map(len, axes)) > _MANY_CUTS:  # every fourth index, say: as many calls as indexes would be slow
        out[_indexes(axes, 0)] = values[_indexes(axes, 1)]
        return
    for cuts in product(*axes):
        into, taken = tuple(cut[0] for cut in cuts), tuple(cut[1] for cut in cuts)
        np.copyto(out[into], values[taken], casting="same_kind")


def _indexes(axes: Sequence[Sequence[Cut]], side: int) -> tuple[NDArray[np.intp], ...]:
    """What all cuts together touch on one side of them, the output (0) or what values are taken from (1)."""
    return np.ix_(
        *(np.concatenate([np.arange(cut[side].start or 0, cut[side].stop) for cut in cuts]) for cuts in axes)
    )


def _c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _read_chunks(fd: int, storage: Chunks, dtype: np.dtype[Any], wanted: Parts, out: NDArray[Any]) -> None:
    touched = _touched(storage, wanted)
    if len(touched) < _chunks_under(storage, wanted, out.shape):
        out[...] = storage.fill
    for number in touched:
        chunk = _decode(fd, storage, int(number), dtype)
        axes = [
            list(
                _overlaps(
                    wanted[axis].ranges if axis in wanted else (range(out.shape[axis]),),
                    int(storage.starts[number, axis]),
                    length,
                )
            )
            for axis, length in enumerate(storage.shape)
        ]
        _scatter(chunk, axes, out)
        del chunk  # before the next one is there


def _touched(storage: Chunks, wanted: Parts) -> NDArray[np.intp]:
    touched = np.ones(len(storage.starts), bool)
    for axis, part in wanted.items():
        starts, length = storage.starts[:, axis], storage.shape[axis]
        here = np.zeros(len(starts), bool)
        for r in part.ranges:
            here |= (starts < r.stop) & (starts + length > r.start)
        touched &= here
    return np.flatnonzero(touched)


def _chunks_under(storage: Chunks, wanted: Parts, shape: tuple[int, ...]) -> int:
    """How many chunks the wanted values have when none is missing."""
    counts = [-(-size // length) for size, length in zip(shape, storage.shape, strict=True)]
    for axis, part in wanted.items():
        length = storage.shape[axis]
        places = (range(r.start // length, (r.stop - 1) // length + 1) for r in part.ranges)
        counts[axis] = len(set(chain.from_iterable(places)))
    return prod(counts)


def _decode(fd: int, storage: Chunks, number: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    raw: bytes | bytearray = pread(fd, int(storage.sizes[number]), int(storage.offsets[number]))
    size = prod(storage.shape) * dtype.itemsize
    for step in _undo(storage.filters, int(storage.skipped[number])):
        try:
            raw = _unpack(step, raw, size, dtype.itemsize)
        except (deflate.DeflateError, RuntimeError, ValueError, MemoryError) as error:
            raise BadData(f"chunk {number} does not decompress ({step}): {error}") from error
        except BadData as error:
            raise BadData(f"chunk {number}: {error}") from error
    if len(raw) != size:
        raise BadData(f"chunk {number} holds {len(raw)} bytes, wanted {size}")
    return np.frombuffer(raw, dtype).reshape(storage.shape)


def _unpack(step: Filter, raw: bytes | bytearray, size: int, itemsize: int) -> bytes | bytearray:
    """Undo one filter on the way to `size` bytes. Zstandard and Blosc chunks are plain frames of those."""
    match step:
        case "shuffle":
            return unshuffle(raw, itemsize)
        case "deflate":
            return deflate.zlib_decompress(raw, size)
        case "zstd":
            return bytes(zstd.decompress(raw))
        case "fletcher32":
            return bytes(Fletcher32().decode(raw))
        case "blosc":
            out = bytearray(size)
            Codec("lz4").decode(
                memoryview(raw), np.frombuffer(out, np.uint8)
            )  # a frame names its own compressor
            return out


def _undo(filters: tuple[Filter, ...], skipped: int) -> Iterator[Filter]:
    for number in reversed(range(len(filters))):
        if not skipped >> number & 1:
            yield filters[number]


def unshuffle(shuffled: bytes | bytearray, itemsize: int) -> bytes | bytearray:
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
    unshuffled: bytes = blosc.decompress(frame)
    return unshuffled


def pread(fd: int, size: int, offset: int) -> bytes:
    """Exactly `size` bytes. Raises BadData: the file ends before."""
    raw = os.pread(fd, size, offset)
    while len(raw) < size:  # a signal, or more than the kernel gives at once
        more = os.pread(fd, size - len(raw), offset + len(raw))
        if not more:
            raise BadData(f"the file ends at byte {offset + len(raw)}, wanted {offset + size}")
        raw = b"".join((raw, more))
    return raw

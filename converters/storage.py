"""Where a variable's values lie in a file, and how to read a range of rows without the file's library.

`Rows`, `Chunks`, `ZarrChunks` and `Messages` are where bytes are, found once by the planner; reading is `os.pread`
in any thread. A *row* is one index along the sample axis.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.converters.grib_scan import Scan
from maelio.packed import Filter, Packed, pread
from maelio.zarr_chunks import ZarrChunks, read_packed

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


Chunked = Chunks | ZarrChunks  # each of a `shape` that is decoded as a whole
Storage = Rows | Chunked | Slow | Unreadable | Messages | Held


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
    storage: Rows | Chunked,
    dtype: np.dtype[Any],
    axis: int,
    rows: range,
    out: NDArray[Any],
    parts: Parts = MappingProxyType({}),
) -> None:
    """Fill `out`, the variable's shape with `rows` along `axis` and `parts` along others, any strides.

    `fd` is the open file, of a Zarr group its folder. Values are cast from `dtype`. A chunk is read once, and only
    where something of it is wanted; where all of it is, and `out` has it in one piece, it is decoded there.

    Raises BadData: the file ended early, or a chunk does not decompress to its size.
    """
    match storage:
        case Rows():
            if axis != 0:
                raise ValueError("rows lie in one piece only along the leading axis")
            _read_leading(fd, storage, dtype, rows, out, parts)
        case Chunks() | ZarrChunks():
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


def _read_chunks(fd: int, storage: Chunked, dtype: np.dtype[Any], wanted: Parts, out: NDArray[Any]) -> None:
    asked = [wanted[axis].ranges if axis in wanted else (range(size),) for axis, size in enumerate(out.shape)]
    match storage:
        case Chunks():
            touched = _touched(storage, wanted)
            if len(touched) < _chunks_under(storage, wanted, out.shape):
                out[...] = storage.fill
            found = _packed_in_file(fd, storage, dtype.itemsize, touched)
            stored, order = dtype, tuple(range(out.ndim))
        case ZarrChunks():
            found = _packed_in_folder(fd, storage, asked)
            stored, order = storage.dtype, storage.order
    for start, packed in found:
        axes = [
            list(_overlaps(ranges, first, length))
            for ranges, first, length in zip(asked, start, storage.shape, strict=True)
        ]
        if packed is None:
            _scatter(np.broadcast_to(storage.fill, storage.shape), axes, out)
        elif (place := _whole_place(axes, storage.shape, stored, order, out)) is not None:
            packed.decode(place)
        else:
            leading, turned = order[0], np.argsort(order)
            for first, part in packed.parts([storage.shape[axis] for axis in order], stored):
                axes[leading] = list(_overlaps(asked[leading], start[leading] + first, len(part)))
                _scatter(part.transpose(turned), axes, out)
            del part  # before the next one is there


def _whole_place(
    axes: Sequence[Sequence[Cut]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    order: tuple[int, ...],
    out: NDArray[Any],
) -> NDArray[Any] | None:
    """Where all of a chunk goes to, if that is one piece of memory in which it can be decoded; its axes in `order`."""
    if out.dtype != dtype or any(len(cuts) != 1 for cuts in axes):
        return None
    place = out[tuple(cuts[0][0] for cuts in axes)]
    if place.shape != shape:
        return None
    turned = place.transpose(order)
    return turned if turned.flags.c_contiguous else None


def _packed_in_file(
    fd: int, storage: Chunks, itemsize: int, touched: NDArray[np.intp]
) -> Iterator[tuple[Sequence[int], Packed | None]]:
    """The first index and the bytes of each of the `touched` chunks."""
    for number in touched:
        skipped = int(storage.skipped[number])
        filters = tuple(name for place, name in enumerate(storage.filters) if not skipped >> place & 1)
        offset, size = int(storage.offsets[number]), int(storage.sizes[number])
        yield storage.starts[number].tolist(), Packed(str(number), fd, offset, size, filters, itemsize)


def _packed_in_folder(
    folder: int, storage: ZarrChunks, asked: Sequence[Sequence[range]]
) -> Iterator[tuple[Sequence[int], Packed | None]]:
    """The first index and the bytes of each chunk."""
    numbers = [
        sorted({number for r in ranges for number in range(r.start // length, (r.stop - 1) // length + 1)})
        for ranges, length in zip(asked, storage.shape, strict=True)
    ]
    for index, packed in read_packed(storage, folder, numbers):
        yield [number * length for number, length in zip(index, storage.shape, strict=True)], packed


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

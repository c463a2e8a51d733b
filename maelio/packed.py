"""A chunk of a Zarr array or an HDF5 dataset as it lies in a file, and its way back to values.

Every function releases the GIL where the work is, so threads decode side by side.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import deflate
import numpy as np
from crc32c import crc32c
from numcodecs import blosc, lz4, zstd
from numcodecs.fletcher32 import Fletcher32
from numpy.typing import NDArray

from maelio.codecs import Codec
from maelio.errors import BadData

Compressor = Literal["deflate", "gzip", "zstd", "lz4", "blosc"]
Filter = Literal["shuffle", "fletcher32", "crc32c"] | Compressor
Stored = bytes | bytearray | memoryview

_CHECKSUMS = ("fletcher32", "crc32c")
_CHECKSUM_BYTES = 4
_LZ4_HEADER = struct.Struct("<I")  # bytes decoded, as numcodecs puts it before a block of LZ4
_UNSHUFFLED_AT_ONCE = 2**18  # bytes: they stay in a core's cache with the copies that are made on the way


@dataclass(frozen=True, slots=True)
class Packed:
    """`size` bytes at `offset` of the open file `fd`, made by `filters` in this order.

    `name` is what a message calls it; `itemsize` are the bytes of an item for `shuffle`.
    """

    name: str
    fd: int
    offset: int
    size: int
    filters: tuple[Filter, ...]
    itemsize: int

    def decode(self, out: NDArray[Any]) -> None:
        """Fill `out`, C-contiguous. Raises BadData: the file ends before, or it is not a chunk of that size."""
        into = out.reshape(-1).view(np.uint8)
        with self._named():
            if self.filters:
                undo(self.filters, pread(self.fd, self.size, self.offset), into, self.itemsize)
            else:
                if self.size != into.nbytes:
                    raise BadData(f"it holds {self.size} bytes, wanted {into.nbytes}")
                _read_into(self.fd, into, self.offset)

    def parts(self, shape: Sequence[int], dtype: np.dtype[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
        """The same values of `shape`, as parts along the first axis that lie in the cache: first index, and values.

        A part is overwritten by the next one. Where bytes were not shuffled last, there is one part. Raises BadData.
        """
        row = prod(shape[1:]) * dtype.itemsize
        rows = max(1, _UNSHUFFLED_AT_ONCE // max(row, 1))
        if self.filters[:1] != ("shuffle",) or self.itemsize == 1 or rows >= shape[0]:
            chunk = np.empty(shape, dtype)
            self.decode(chunk)
            yield 0, chunk
            return
        with self._named():
            stored = pread(self.fd, self.size, self.offset)
            shuffled = _undone(self.filters, 1, stored, shape[0] * row, self.itemsize)
            del stored
            if len(shuffled) != shape[0] * row:
                raise BadData(f"it holds {len(shuffled)} bytes, wanted {shape[0] * row}")
        part = np.empty((rows, *shape[1:]), dtype)
        for first in range(0, shape[0], rows):
            values = part[: shape[0] - first]
            _unshuffle_some(
                shuffled,
                self.itemsize,
                first * row // self.itemsize,
                values.reshape(-1).view(np.uint8),
            )
            yield first, values

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except BadData as error:
            raise BadData(f"chunk {self.name}: {error}") from error


def undo(filters: Sequence[Filter], stored: Stored, out: NDArray[np.uint8], itemsize: int) -> None:
    """Fill `out` with what `filters`, in the order in which they were applied, made `stored` of.

    Raises BadData: that is not what they make of so many bytes.
    """
    left = _undone(filters, 1, stored, out.nbytes, itemsize)
    if filters and filters[0] not in _CHECKSUMS:
        with _told(filters[0]):
            _unpack_into(out, filters[0], left, itemsize)
    else:
        _fill(out, _undone(filters[:1], 0, left, out.nbytes, itemsize))


def _undone(filters: Sequence[Filter], first: int, stored: Stored, nbytes: int, itemsize: int) -> memoryview:
    """What is left of `stored` when the filters from number `first` on are undone; `nbytes` are those of the values."""
    left = memoryview(stored)
    for place in reversed(range(first, len(filters))):
        name = filters[place]
        size = nbytes + _CHECKSUM_BYTES * sum(other in _CHECKSUMS for other in filters[:place])
        with _told(name):
            left = _checked(name, left) if name in _CHECKSUMS else _unpack(name, left, size, itemsize)
    return left


@contextmanager
def _told(name: Filter) -> Iterator[None]:
    try:
        yield
    except (deflate.DeflateError, RuntimeError, ValueError, MemoryError, struct.error, BadData) as error:
        raise BadData(f"it does not decompress ({name}): {error}") from error


def copies(filters: Sequence[Filter]) -> int:
    """How many times the bytes of a chunk are held at most while it is decoded: as stored and as values at least."""
    shuffled, inflated = "shuffle" in filters, not {"deflate", "gzip"}.isdisjoint(filters)
    return 2 + shuffled + (inflated or (shuffled and len(filters) > 1))


def _unpack(name: Filter, stored: memoryview, size: int, itemsize: int) -> memoryview:
    """Undo one filter on the way to `size` bytes."""
    match name:
        case "deflate":
            return memoryview(deflate.zlib_decompress(stored, size))
        case "gzip":
            return memoryview(deflate.gzip_decompress(stored, size))
        case _:
            out = np.empty(size, np.uint8)
            _unpack_into(out, name, stored, itemsize)
            return out.data


def _unpack_into(out: NDArray[np.uint8], name: Filter, stored: memoryview, itemsize: int) -> None:
    match name:
        case "deflate" | "gzip":
            _fill(out, _unpack(name, stored, out.nbytes, itemsize))
        case "shuffle":
            unshuffle(stored, itemsize, out)
        case "blosc":
            Codec("lz4").decode(stored, out)  # a frame names its own compressor
        case "zstd":
            _check_announced(_zstd_size(stored), out.nbytes)
            zstd.decompress(stored, out)
        case "lz4":
            (announced,) = _LZ4_HEADER.unpack_from(stored)
            _check_announced(announced, out.nbytes)
            lz4.decompress(stored, out)


def _fill(out: NDArray[np.uint8], values: Stored) -> None:
    if len(values) != out.nbytes:
        raise BadData(f"it holds {len(values)} bytes, wanted {out.nbytes}")
    out[:] = np.frombuffer(values, np.uint8)


def _check_announced(found: int | None, wanted: int) -> None:
    if found not in (None, wanted):
        raise ValueError(f"it announces {found} bytes, wanted {wanted}")


def _checked(name: Filter, stored: memoryview) -> memoryview:
    """Without the checksum behind it. Raises ValueError, RuntimeError: that is of other bytes."""
    if name == "fletcher32":
        return memoryview(Fletcher32().decode(stored))
    content, checksum = stored[:-_CHECKSUM_BYTES], stored[-_CHECKSUM_BYTES:]
    found, wanted = crc32c(content), int.from_bytes(checksum, "little")
    if len(checksum) != _CHECKSUM_BYTES or found != wanted:
        raise ValueError(f"its bytes have CRC-32C {found:08x}, wanted {wanted:08x}")
    return content


def _zstd_size(stored: memoryview) -> int | None:
    """What the header of a frame announces; None where it announces nothing. Source: RFC 8878, section 3.1.1.1."""
    if len(stored) < 5 or bytes(stored[:4]) != b"\x28\xb5\x2f\xfd":
        raise ValueError("it does not begin as a frame of Zstandard")
    descriptor = stored[4]
    flag, alone = descriptor >> 6, descriptor >> 5 & 1
    length = 2**flag if flag or alone else 0
    if not length:
        return None
    start = 5 + (1 - alone) + (0, 1, 2, 4)[descriptor & 3]  # behind the window and the number of a dictionary
    return int.from_bytes(stored[start : start + length], "little") + (256 if flag == 1 else 0)


def unshuffle(shuffled: Stored, itemsize: int, out: NDArray[np.uint8]) -> None:
    """Undo HDF5's byte shuffle: all first bytes, then all second bytes, ... become items in `out`.

    Blosc has the fastest unshuffle at hand, so the bytes are given to it as the bodies of uncompressed
    frames whose header says "shuffled". Source: Blosc 1 chunk format (README_CHUNK_FORMAT).

    Raises ValueError: `out` has another size, or no whole items.
    """
    size = len(shuffled)
    if size != out.nbytes:
        raise ValueError(f"{size} shuffled bytes, wanted {out.nbytes}")
    if itemsize == 1:
        out[:] = np.frombuffer(shuffled, np.uint8)
        return
    if size % itemsize:
        raise ValueError(f"{size} shuffled bytes are no whole items of {itemsize} bytes")
    at_once = max(1, _UNSHUFFLED_AT_ONCE // itemsize)
    for first in range(0, size // itemsize, at_once):
        some = out[first * itemsize : (first + at_once) * itemsize]
        _unshuffle_some(memoryview(shuffled), itemsize, first, some)


def _unshuffle_some(shuffled: memoryview, itemsize: int, first: int, out: NDArray[np.uint8]) -> None:
    """Fill `out` with whole items, from number `first` on."""
    size, items = out.nbytes, len(shuffled) // itemsize
    last = first + size // itemsize
    version, lz_version, do_shuffle_no_split = 2, 1, 0x11
    frame = b"".join((
        bytes((version, lz_version, do_shuffle_no_split, itemsize)),
        size.to_bytes(4, "little"),  # bytes of the data,
        size.to_bytes(4, "little"),  # of its only block,
        (size + 24).to_bytes(4, "little"),  # of the frame
        (20).to_bytes(4, "little"),  # the block starts behind this table,
        size.to_bytes(4, "little"),  # and is stored, since it is as long as the data
        *(shuffled[byte * items + first : byte * items + last] for byte in range(itemsize)),
    ))  # fmt: skip
    blosc.decompress(frame, out)


def pread(fd: int, size: int, offset: int) -> bytes:
    """Exactly `size` bytes. Raises BadData: the file ends before."""
    raw = os.pread(fd, size, offset)
    while len(raw) < size:  # a signal, or more than the kernel gives at once
        more = os.pread(fd, size - len(raw), offset + len(raw))
        if not more:
            raise BadData(f"the file ends at byte {offset + len(raw)}, wanted {offset + size}")
        raw = b"".join((raw, more))
    return raw


def _read_into(fd: int, out: NDArray[np.uint8], offset: int) -> None:
    """The same, into `out`."""
    done = 0
    while done < out.nbytes:
        count = os.preadv(fd, [out[done:].data], offset + done)
        if not count:
            raise BadData(f"the file ends at byte {offset + done}, wanted {offset + out.nbytes}")
        done += count

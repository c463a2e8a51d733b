"""A chunk of a Zarr array or an HDF5 dataset as it lies in a file, and its way back to values.

Every function releases the GIL where the work is, so threads decode side by side.
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
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
        try:
            if self.filters:
                undo(self.filters, pread(self.fd, self.size, self.offset), into, self.itemsize)
            else:
                if self.size != into.nbytes:
                    raise BadData(f"it holds {self.size} bytes, wanted {into.nbytes}")
                _read_into(self.fd, into, self.offset)
        except BadData as error:
            raise BadData(f"chunk {self.name}: {error}") from error


def undo(filters: Sequence[Filter], stored: Stored, out: NDArray[np.uint8], itemsize: int) -> None:
    """Fill `out` with what `filters`, in the order in which they were applied, made `stored` of.

    Raises BadData: that is not what they make of so many bytes.
    """
    left = memoryview(stored)
    for place in reversed(range(len(filters))):
        name = filters[place]
        size = out.nbytes + _CHECKSUM_BYTES * sum(other in _CHECKSUMS for other in filters[:place])
        try:
            if name in _CHECKSUMS:
                left = _checked(name, left)
            elif place:
                left = _unpack(name, left, size, itemsize)
            else:
                _unpack_into(out, name, left, itemsize)
                return
        except (deflate.DeflateError, RuntimeError, ValueError, MemoryError, struct.error, BadData) as error:
            raise BadData(f"it does not decompress ({name}): {error}") from error
    _fill(out, left)


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

    Blosc has the fastest unshuffle at hand, so the bytes are given to it as the body of an uncompressed
    frame whose header says "shuffled". Source: Blosc 1 chunk format (README_CHUNK_FORMAT).

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

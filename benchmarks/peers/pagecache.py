"""Files out of the page cache or into it, and the proof of it: what is not proven is not printed as cold, nor as warm.

What lies below this machine, a host's cache or a disk's, is out of reach: the limit that is measured beside is
under the same conditions.
"""

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from maelio.errors import InvalidMeasurement

RESIDENT = 0.02  # share of the pages that may be in memory where none should, or not where all should
READ = 0.95  # share of the stored bytes that must have come from the disk
_PROGRAMS = 2**24  # bytes
_READ_AT_ONCE = 2**23  # bytes

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]


def fetch(paths: Iterable[Path]) -> None:
    """Read files, so that they are in memory if it has room: where it is short of it, kernels drop what was not used for a while."""
    buffer = memoryview(bytearray(_READ_AT_ONCE))
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def evict(paths: Iterable[Path]) -> float:
    """Ask the kernel to drop the pages of files; the share of them that is still in memory.

    It keeps those that some process has mapped. Source: posix_fadvise(2), mincore(2).
    """
    paths = list(paths)
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return resident(paths)


def resident(paths: Iterable[Path]) -> float:
    """The share of the pages of files that is in memory. Source: mincore(2)."""
    pages = held = 0
    for path in paths:
        with open(path, "rb") as file:
            found = _resident(file.fileno())
        pages, held = pages + len(found), held + int(np.count_nonzero(found & 1))
    return held / max(pages, 1)


def expect_resident(name: str, share: float) -> None:
    """Raises InvalidMeasurement: files were not all in memory."""
    if share < 1 - RESIDENT:
        raise InvalidMeasurement(f"{name}: {share:.1%} of its files are in memory, wanted {1 - RESIDENT:.0%}")


def expect_warm(name: str, device_bytes: int, read_bytes: float) -> None:
    """Raises InvalidMeasurement: more came from a disk than programs that are loaded late."""
    if device_bytes > RESIDENT * read_bytes + _PROGRAMS:
        raise InvalidMeasurement(
            f"{name}: {device_bytes / 1e6:.0f} of {read_bytes / 1e6:.0f} MB came from a disk, not from the page cache"
        )


def expect_cold(name: str, resident: float, device_bytes: int, stored_bytes: float) -> None:
    """Raises InvalidMeasurement: files were in memory before the run, or it did not read them from the disk."""
    if resident > RESIDENT:
        raise InvalidMeasurement(
            f"{name}: {resident:.1%} of its files are in memory before the run, wanted at most {RESIDENT:.0%}"
        )
    if device_bytes < READ * stored_bytes:
        raise InvalidMeasurement(
            f"{name}: {device_bytes / 1e6:.0f} MB came from the disk, wanted {READ:.0%} of {stored_bytes / 1e6:.0f} MB"
        )


def _resident(descriptor: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """One value a page; odd: it is in memory."""
    size = os.fstat(descriptor).st_size
    found = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    if not size:
        return found
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as mapping:
        view = np.frombuffer(mapping, np.uint8)
        failed = _libc.mincore(view.ctypes.data, size, found.ctypes.data)
        del view  # else the mapping cannot be closed
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found

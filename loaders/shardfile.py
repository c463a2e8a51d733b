"""One shard file, open for reading: its bytes by offset.

Bytes are looked at in place, in a mapping of the file: to copy compressed ones first costs a fifth of the speed of
LZ4, and to copy the others out of a mapping is cheaper than to have the kernel do it. Their pages are asked
for before they are touched, so that waiting for the disk is apart from decoding, and a file that was cut short is an
error and not a SIGBUS; it is one only for a file cut in the very moment one of its chunks is decoded. Where the
kernel cannot do that, they are read.

A read that the disk or the network fails is tried again, after a pause that doubles.
"""

import ctypes
import mmap
import os
import resource
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadData, NotPermitted
from maelio.loaders.scratch import Scratch
from maelio.store import index_bytes, places

_MADV_POPULATE_READ = 22  # Linux 5.14
_ASKED_AT_ONCE = 2**17  # bytes: of one call Linux reads no more than its read-ahead, this by default

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_scratch = Scratch()

_NEVER = threading.Event()


@dataclass(frozen=True, slots=True)
class Patience:
    """A read that fails is tried `retries` times more: after `pause_s`, then twice that, and so on."""

    retries: int = 3
    pause_s: float = 0.1


PATIENCE = Patience()


class Stopped(Exception):
    """Nobody wants the result any more."""


class ShardFile:
    """A shard of `nbytes` bytes. With `mapped`, `fetch` looks into the page cache; else it copies.

    Raises:
        BadData: the file is missing, or has not that size.
        NotPermitted: it may not be read.
    """

    def __init__(
        self, path: Path, *, nbytes: int, mapped: bool = False, patience: Patience = PATIENCE
    ) -> None:
        self.path = path
        self._nbytes = nbytes
        self._patience = patience
        self._descriptor = _open(path)
        close = weakref.finalize(self, os.close, self._descriptor)
        found = os.fstat(self._descriptor).st_size
        if found != nbytes:
            raise BadData(f"{path} has {found} bytes, wanted {nbytes}")
        self._mapping = _Mapping.of(self._descriptor, path) if mapped else None
        if self._mapping is not None:
            close()  # a mapping keeps the file open itself

    def fetch(self, offset: int, length: int, stop: threading.Event = _NEVER) -> memoryview:
        """The bytes, in memory; valid until this thread fetches again. Raises as `read_into`."""
        if self._mapping is None:
            stored = _scratch.take(length)
            self.read_into(offset, stored, stop)
            return stored
        failed = 0
        while True:
            try:
                return self._mapping.fetch(offset, length)
            except OSError as error:
                self._expect_whole()
                failed = self._failed(failed, error, offset, length, stop)

    def ask(self, offset: int, length: int) -> None:
        """Have the kernel read these bytes into its page cache, as well as it can, and do not wait for them."""
        for begin in range(offset - offset % mmap.PAGESIZE, offset + length, _ASKED_AT_ONCE):
            nbytes = min(_ASKED_AT_ONCE, offset + length - begin)
            if self._mapping is not None:
                self._mapping.ask(begin, nbytes)
            elif hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._descriptor, begin, nbytes, os.POSIX_FADV_WILLNEED)

    def read_into(self, offset: int, out: memoryview, stop: threading.Event = _NEVER) -> None:
        """Fill `out` with the bytes from `offset`.

        Raises:
            BadData: it ends before, or cannot be read, however often that is tried.
            Stopped: `stop` was set while it was tried again.
        """
        if self._mapping is not None:
            found = self.fetch(offset, len(out), stop)
            np.copyto(np.frombuffer(out, np.uint8), np.frombuffer(found, np.uint8))  # lets go of the GIL
            return
        failed = 0
        while out:
            try:
                got = os.preadv(self._descriptor, [out], offset)
            except OSError as error:
                failed = self._failed(failed, error, offset, len(out), stop)
                continue
            if not got:
                raise BadData(f"ends at byte {offset}, {len(out)} bytes too early")
            offset, out = offset + got, out[got:]

    def _failed(self, failed: int, error: OSError, offset: int, length: int, stop: threading.Event) -> int:
        """Wait until the read is tried again, and count how often it failed."""
        if failed == self._patience.retries:
            raise BadData(
                f"bytes {offset} to {offset + length} cannot be read, tried {failed + 1} times: {error.strerror}"
            ) from error
        if stop.wait(self._patience.pause_s * 2**failed):
            raise Stopped
        return failed + 1

    def _expect_whole(self) -> None:
        """A mapping does not tell a file that was cut short from a disk that fails."""
        try:
            found = os.stat(self.path).st_size
        except FileNotFoundError as error:
            raise BadData("was deleted, and cannot be read any more") from error
        if found < self._nbytes:
            raise BadData(f"ends at byte {found}, {self._nbytes - found} bytes too early")


class _Mapping:
    """A whole file, mapped for reading. `told`: the kernel tells which of its pages are in memory."""

    def __init__(self, mapped: mmap.mmap, told: bool) -> None:
        self._view = memoryview(mapped)
        self._address: int = np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
        self._told = told

    @classmethod
    def of(cls, descriptor: int, path: Path) -> "_Mapping | None":
        """None: this kernel cannot fetch pages of a mapping on request."""
        try:  # with memory of no file, around whose first page Linux would read more
            mmap.mmap(-1, mmap.PAGESIZE).madvise(_MADV_POPULATE_READ)
        except OSError:
            return None
        # Linux tells of others' files that all is in memory: mm/mincore.c
        told = os.fstat(descriptor).st_uid == os.geteuid() or os.access(path, os.W_OK)
        return cls(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ), told)

    def ask(self, begin: int, length: int) -> None:
        """`begin` is that of a page. What fails is for whoever reads it."""
        _libc.madvise(self._address + begin, length, mmap.MADV_WILLNEED)

    def fetch(self, offset: int, length: int) -> memoryview:
        """Raises OSError: the pages cannot be read."""
        start = offset - offset % mmap.PAGESIZE
        if self._told and self._in_memory(start, offset + length - start):
            return self._view[offset : offset + length]
        # Not mmap.madvise(): it holds the GIL while the disk works
        if _libc.madvise(self._address + start, offset + length - start, _MADV_POPULATE_READ):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return self._view[offset : offset + length]

    def _in_memory(self, start: int, length: int) -> bool:
        """Costs a fifth of asking for pages that are there."""
        found = bytearray(-(-length // mmap.PAGESIZE))
        failed = _libc.mincore(self._address + start, length, ctypes.byref(ctypes.c_char.from_buffer(found)))
        return not failed and found.find(0) < 0


def allow_open_files(count: int) -> int:
    """How many of `count` files may be open: at most a quarter of the limit, the soft one raised where they need it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and count > soft // 4:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return count if soft == resource.RLIM_INFINITY else max(1, min(count, soft // 4))


def index_within(path: Path, *, chunks: int, nbytes: int, patience: Patience = PATIENCE) -> NDArray[np.int64]:
    """The index at the end of a shard of `nbytes` bytes and `chunks` inner chunks.

    Shape: (chunk, 2): offset and length in bytes, -1 twice where the chunk is absent. Raises as `ShardFile`;
    BadData: the index is damaged.
    """
    start = nbytes - index_bytes(chunks)
    if start < 0:
        raise BadData(f"{path} has {nbytes} bytes, its index alone has {index_bytes(chunks)}")
    stored = bytearray(index_bytes(chunks))
    file = ShardFile(path, nbytes=nbytes, patience=patience)
    try:
        file.read_into(start, memoryview(stored))
        return places(bytes(stored), chunks=chunks, end=start)
    except BadData as error:
        raise BadData(f"{path}: {error}") from error


def index_beside(path: Path, *, chunks: int, nbytes: int) -> NDArray[np.int64]:
    """The same from the file `path` of its own, where `nbytes` are those of the shard."""
    try:
        with open(_open(path), "rb") as file:
            return places(file.read(), chunks=chunks, end=nbytes)
    except BadData as error:
        raise BadData(f"{path}: {error}") from error


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadData(f"{path} is missing") from error
    except PermissionError as error:
        raise NotPermitted(f"{path}: {error.strerror}") from error
    except OSError as error:
        raise BadData(f"{path} cannot be opened: {error.strerror}") from error

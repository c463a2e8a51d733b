"""eccodes in a process of its own, one for each thread: what a damaged message does to it ends there.

A damaged message can abort eccodes or the libraries below it, write over other memory, or never come back. This
process hands messages over in shared memory and takes values back the same way.
"""

import json
import logging
import mmap
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maelio.converters.isolation import Told, cause_of_death, limit_memory, receive, retell
from maelio.errors import BadData

if TYPE_CHECKING:
    from maelio.converters.grib_facts import Facts, Grid

_LIMIT_S = 60.0  # for one message; and for its values
_VALUES_PER_S = 10**6

# Set by some packages when they are imported. With it eccodes 2.50 gives some grids other latitudes, a row too far.
_OTHER_GEOMETRY = "ECCODES_ECKIT_GEO"

_REQUEST = struct.Struct("<BdQQQ")  # what, seconds, bytes of the message and of the memory, values wanted
_REPLY = struct.Struct("<?Q")  # whether it went well, bytes of the pickle that follows
_VALUES, _FACTS, _GRID = range(3)

_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from maelio.converters.decoder import serve
serve(int(sys.argv[2]), int(sys.argv[3]))
"""


def decoder() -> "Decoder":
    """This thread's own, started when first asked for; it loads eccodes while this process goes on."""
    found: Decoder | None = getattr(_own, "decoder", None)
    if found is None or not found.usable:
        found = _own.decoder = Decoder()
    return found


_own = threading.local()


class Decoder:
    """A process that answers about one message at a time. It ends with this object, or with this process.

    Args:
        limit_s: how long one message may take, besides a second for every million values.
    """

    def __init__(self, limit_s: float = _LIMIT_S) -> None:
        self._limit_s = limit_s
        self._link, theirs = socket.socketpair()
        self._file = _memory_file()
        self._memory = mmap.mmap(self._file, mmap.PAGESIZE)
        self._owner = os.getpid()
        path = [os.path.abspath(folder) for folder in sys.path]
        settings = {name: value for name, value in os.environ.items() if name != _OTHER_GEOMETRY}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(path), str(theirs.fileno()), str(self._file)],
                env=settings,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._file),
            )
        weakref.finalize(self, _end, self._link, self._file, self._process, self._owner)

    @property
    def usable(self) -> bool:
        """It lives, and was started by this very process, not by one that this is a fork of."""
        return self._owner == os.getpid() and self._process.poll() is None

    def values(self, message: bytes, count: int) -> NDArray[np.float64]:
        """Values in the order of the message, NaN where missing; they stay until the next call.

        Raises BadData: they cannot be decoded, there are not `count` of them, or eccodes died or took too long.
        """
        self._ask(_VALUES, message, count)
        return np.frombuffer(self._memory, np.float64, count)

    def facts(self, message: bytes) -> "Facts":
        """Raises BadData: as `values`."""
        found: Facts = self._ask(_FACTS, message)
        return found

    def facts_and_grid(self, message: bytes) -> "tuple[Facts, Grid]":
        """Raises BadData: as `values`."""
        found: tuple[Facts, Grid] = self._ask(_GRID, message)
        return found

    def _ask(self, what: int, message: bytes, count: int = 0) -> Any:
        limit_s = self._limit_s + count / _VALUES_PER_S
        needed = max(len(message), count * np.dtype(np.float64).itemsize)
        if needed > len(self._memory):
            os.ftruncate(self._file, needed)
            self._memory = mmap.mmap(self._file, needed)
        self._memory[: len(message)] = message
        try:
            self._link.sendall(_REQUEST.pack(what, limit_s, len(message), len(self._memory), count))
            well, length = _REPLY.unpack(receive(self._link, _REPLY.size))
            answer, warnings = pickle.loads(receive(self._link, length))
        except (EOFError, ConnectionError):
            raise BadData(cause_of_death("eccodes", self._process.wait(), limit_s)) from None
        retell(warnings)
        if not well:
            raise BadData(answer)
        return answer


def _end(link: socket.socket, file: int, process: subprocess.Popen[bytes], owner: int) -> None:
    link.close()
    os.close(file)
    if owner == os.getpid():  # not in a fork of it, whose child this is not
        process.kill()
        process.wait()


def _memory_file() -> int:
    """A file without a name that never reaches a disk where the kernel has such."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("maelio-decoder")
    else:
        with tempfile.TemporaryFile() as temporary:
            file = os.dup(temporary.fileno())
    os.ftruncate(file, mmap.PAGESIZE)
    return file


def serve(link_fd: int, file: int) -> None:
    """Answer until the other side is gone. Runs in the process that `Decoder` starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side is interrupted too, and ends this one
    answers = {_VALUES: _values, _FACTS: _facts, _GRID: _facts_and_grid}
    limit_memory()
    import eccodes  # noqa: F401  (while the other side goes on)

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # from here on what is wrong is told by answers
    told = Told()
    logging.getLogger("maelio").addHandler(told)
    memory = mmap.mmap(file, mmap.PAGESIZE)
    with socket.socket(fileno=link_fd) as link, suppress(EOFError, ConnectionError):
        while True:
            what, limit_s, length, size, count = _REQUEST.unpack(receive(link, _REQUEST.size))
            if size != len(memory):
                memory = mmap.mmap(file, size)
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            well, answer = _attempt(answers[what], bytes(memory[:length]), count, memory)
            signal.setitimer(signal.ITIMER_REAL, 0)
            reply = pickle.dumps((answer, told.take()))
            link.sendall(_REPLY.pack(well, len(reply)))
            link.sendall(reply)


def _attempt(
    answer: Callable[[int, int, mmap.mmap], Any], message: bytes, count: int, memory: mmap.mmap
) -> tuple[bool, Any]:
    import eccodes

    try:
        handle = eccodes.codes_new_from_message(message)
        try:
            return True, answer(handle, count, memory)
        finally:
            eccodes.codes_release(handle)
    except (
        eccodes.CodesInternalError,
        BadData,
        ValueError,
        OverflowError,
    ) as error:  # the latter two from sizes
        return False, str(error)
    except MemoryError:
        return False, "it asks for more memory than there is"


def _values(handle: int, count: int, memory: mmap.mmap) -> None:
    import eccodes

    found = eccodes.codes_get_size(handle, "values")
    if found != count:
        raise BadData(f"it has {found} values, wanted {count}")
    eccodes.codes_set(handle, "missingValue", np.nan)
    np.frombuffer(memory, np.float64, count)[:] = eccodes.codes_get_double_array(handle, "values")


def _facts(handle: int, count: int, memory: mmap.mmap) -> "Facts":
    from maelio.converters.grib_headers import facts

    return facts(handle)


def _facts_and_grid(handle: int, count: int, memory: mmap.mmap) -> "tuple[Facts, Grid]":
    from maelio.converters.grib_headers import facts, grid

    found = grid(handle)
    return facts(handle), found

"""A process of its own for calls into a library that a damaged file may crash or keep for ever.

It is a copy of this process where that is safe, which costs milliseconds, and else a fresh Python that loads the
library first. It ends itself where a call takes too long, also deep within a library.
"""

import faulthandler
import gc
import json
import logging
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from maelio.errors import BadData, MaelioError

T = TypeVar("T")

_MEMORY = 0.5  # of the machine's: a damaged header may ask for any number of values
_LARGE = 2**16  # bytes from which on an array is sent as it lies, not copied into a pickle

_START = """
import json, socket, sys
sys.path[:] = json.loads(sys.argv[1])
from maelio.converters.isolation import serve
serve(socket.socket(fileno=int(sys.argv[2])))
"""

_SIZE = struct.Struct("<Q")


class Died(BadData):
    """What the process ended of, as `cause_of_death` says it; or it would have, of too little memory."""


class Process(Protocol):
    """What is asked of a process, as `subprocess.Popen` answers it."""

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def kill(self) -> None: ...


class Isolated:
    """Carries out one call at a time; use it in one thread at a time. It ends with this object, or with this process.

    Args:
        library: its name in messages.
    """

    def __init__(self, library: str) -> None:
        self._library = library
        self._link, theirs = socket.socketpair()
        self._owner = os.getpid()
        self.forked = may_fork()
        with theirs:
            self._process = _fork(self._link, theirs) if self.forked else _spawn(theirs)
        self.end = weakref.finalize(self, _end, self._link, self._process, self._owner)

    @property
    def usable(self) -> bool:
        """It lives, and was started by this very process, not by one that this is a fork of."""
        return self.end.alive and self._owner == os.getpid() and self._process.poll() is None

    def call(self, limit_s: float, function: Callable[..., T], *arguments: Any) -> T:
        """What a function of a module returns there. It may take `limit_s` of processor time; waiting does not count.

        What it logs and warns of is told here; what it raises is raised here.

        Raises Died: the process did.
        """
        try:
            _send(self._link, _packed((limit_s, function, arguments)))
            well, answer, told, warned = _receive(self._link)
        except (EOFError, ConnectionError):
            raise Died(cause_of_death(self._library, self._process.wait(), limit_s)) from None
        except BaseException:  # an interrupt: the next call must not get this one's answer
            self.end()
            raise
        retell(told)
        for each in warned:
            warnings.warn_explicit(*each)
        if isinstance(answer, MemoryError):
            raise Died(f"{self._library} asks for more memory than there is")
        if not well:
            raise answer
        result: T = answer
        return result


def may_fork() -> bool:
    """No other thread of Python holds a lock now that a copy would wait for; other systems' libraries forbid it."""
    return sys.platform == "linux" and len(sys._current_frames()) == 1


def _fork(ours: socket.socket, theirs: socket.socket) -> Process:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, such as idle ones of BLAS
        pid = os.fork()
    if pid:
        return _Forked(pid)
    try:
        ours.close()
        gc.freeze()  # a collection would write to every page, and copy it
        serve(theirs)
    finally:
        os._exit(0)  # nothing that this process is a copy of goes on here


def _spawn(theirs: socket.socket) -> Process:
    path = [os.path.abspath(folder) for folder in sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", _START, json.dumps(path), str(theirs.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
    )


class _Forked:
    """A copy of this process, as `Process` asks."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        code = self._wait(0)
        return 0 if code is None else code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self._pid, signal.SIGKILL)

    def _wait(self, options: int) -> int | None:
        if self._code is None:
            try:
                pid, status = os.waitpid(self._pid, options)
            except ChildProcessError:  # somebody else waits for all children of this process
                pid, status = self._pid, 0
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code


def _end(link: socket.socket, process: Process, owner: int) -> None:
    link.close()
    if owner == os.getpid():  # not in a fork of it, whose child this is not
        process.kill()
        process.wait()


def serve(link: socket.socket) -> None:
    """Answer until the other side is gone. Runs in the process that `Isolated` starts."""
    for number in (signal.SIGTERM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side is interrupted too, and ends this one
    signal.set_wakeup_fd(-1)
    faulthandler.disable()
    limit_memory()
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # what is wrong is told by answers
        os.dup2(quiet, stream)
    told = Told()
    log = logging.getLogger("maelio")
    log.handlers, log.propagate = [told], False
    with link, suppress(EOFError, ConnectionError):
        while True:
            limit_s, function, arguments = _receive(link)
            signal.setitimer(signal.ITIMER_PROF, limit_s)
            reply = _reply(told, function, arguments)
            signal.setitimer(signal.ITIMER_PROF, 0)
            _send(link, reply)
            del reply  # before the next one is there


def _reply(told: "Told", function: Callable[..., Any], arguments: tuple[Any, ...]) -> "Parts":
    with warnings.catch_warnings(record=True) as warned:
        try:
            well, answer = True, function(*arguments)
        except Exception as error:  # noqa: BLE001  (it is raised on the other side)
            well, answer = False, error
            if not isinstance(error, MaelioError):  # a fault: say where
                error.add_note("".join(traceback.format_exception(error)))
    warned_of = [(each.message, each.category, each.filename, each.lineno) for each in warned]
    return _packed((well, answer, told.take(), warned_of))


Parts = list[bytes | memoryview]


def _packed(content: object) -> Parts:
    """A pickle; large arrays follow it as they lie in memory."""
    large: list[memoryview] = []

    def small(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _LARGE:
            return True
        large.append(raw)
        return False

    head = pickle.dumps((content,), protocol=5, buffer_callback=small)
    sizes = pickle.dumps([raw.nbytes for raw in large])
    return [_SIZE.pack(len(sizes)), sizes, _SIZE.pack(len(head)), head, *large]


def _send(link: socket.socket, parts: Parts) -> None:
    for part in parts:
        link.sendall(part)


def _receive(link: socket.socket) -> Any:
    sizes = pickle.loads(receive(link, *_SIZE.unpack(receive(link, _SIZE.size))))
    head = receive(link, *_SIZE.unpack(receive(link, _SIZE.size)))
    (content,) = pickle.loads(head, buffers=[receive(link, size) for size in sizes])
    return content


def receive(link: socket.socket, length: int) -> bytearray:
    """So many bytes. Raises EOFError: the other side is gone."""
    received = bytearray(length)
    rest = memoryview(received)
    while rest:
        count = link.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return received


def cause_of_death(library: str, code: int, limit_s: float) -> str:
    """In words, from the exit code: `HDF5 was killed by SIGSEGV`; an alarm of the real clock, or of the processor's, is its limit."""
    if code in (-signal.SIGALRM, -signal.SIGPROF):
        of_what = " of processor time" if code == -signal.SIGPROF else ""
        return f"{library} took more than {limit_s:.3g} s{of_what}"
    if code < 0:
        return f"{library} was killed by {signal.Signals(-code).name}"
    return f"{library} ended with exit code {code}"


def limit_memory() -> None:
    """To what this process has, and half of the machine's beside it; and no core is dumped."""
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data_pages() * page + int(pages * page * _MEMORY)
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _data_pages() -> int:
    """What counts for the limit already: much in a copy of a large process. Source: proc_pid_statm(5)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[5])
    except FileNotFoundError:  # not Linux
        return 0


class Told(logging.Handler):
    """Warnings since they were last taken: logger, level and message."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append((record.name, record.levelno, record.getMessage()))

    def take(self) -> list[tuple[str, int, str]]:
        records, self._records = self._records, []
        return records


def retell(records: Iterable[tuple[str, int, str]]) -> None:
    """Log here what was `Told` there."""
    for name, level, message in records:
        logging.getLogger(name).log(level, "%s", message)

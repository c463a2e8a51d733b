"""Locks between processes and users, by `flock`: the kernel frees them when a process ends, however it ends.

Lock files are made once and never removed: a removed one would be two locks, for those who had it open and those who
come later. There is one for each of 4096 groups of URLs, so there is an end to their number.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLLED_S = (0.01, 0.25)  # the first pause while somebody else has a lock, the longest


@contextmanager
def locked(path: Path, mode: int, *, shared: bool = False, wait: bool = True) -> Iterator[bool]:
    """Hold a lock; False, at once, where `wait` is off and somebody else has it.

    Raises OSError: the file cannot be made or opened, or its file system knows no locks (ENOLCK, EOPNOTSUPP).
    """
    fd = opened(path, mode)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(fd)
        yield False
        return
    except BaseException:
        os.close(fd)
        raise
    try:
        yield True
    finally:
        os.close(fd)


@contextmanager
def awaited(path: Path, mode: int, check: Callable[[float], None]) -> Iterator[None]:
    """Hold a lock once nobody else has it. `check` gets the seconds waited so far, and may raise."""
    began, pause = time.monotonic(), _POLLED_S[0]
    while True:
        with locked(path, mode, wait=False) as ours:
            if ours:
                yield
                return
        check(time.monotonic() - began)
        time.sleep(pause)
        pause = min(2 * pause, _POLLED_S[1])


def opened(path: Path, mode: int) -> int:
    """A descriptor of a file that is there, or made now, with these permissions from its first moment."""
    try:
        return os.open(path, os.O_RDWR)
    except FileNotFoundError:
        made = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
        fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.fchmod(fd, mode)
            os.link(made, path)
        except FileExistsError:  # somebody was faster
            pass
        finally:
            os.close(fd)
            os.unlink(made)
        return os.open(path, os.O_RDWR)


def forbidden(error: OSError) -> bool:
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def refused(error: OSError) -> bool:
    """Whether a folder cannot be used as a cache: forbidden, full, without locks, or not there."""
    return forbidden(error) or error.errno in {
        errno.ENOSPC, errno.EDQUOT, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT, errno.ENOTDIR,
    }  # fmt: skip

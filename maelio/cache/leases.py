"""Objects that a process has open: while it lives, and holds them, none of them is evicted.

A lease is a file with one name a line, under the lock of its process. The kernel frees the lock when the process ends,
so a lease that can be locked is nobody's.
"""

import fcntl
import os
import socket
import threading
import uuid
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Self

from maelio.cache.locks import locked, opened
from maelio.cache.tier import Tier


class Lease:
    """What was taken out of caches, held until it is closed or forgotten, or its process ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[tuple[Path, str]] = set()
        self._name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._files: dict[Path, int] = {}
        self._finish = weakref.finalize(self, _end, self._files, os.getpid())

    def hold(self, tier: Tier, name: str) -> None:
        """Called with the tier's gate held. Raises OSError: it may not be noted there."""
        with self._lock:
            if (tier.root, name) in self._held:
                return
            path = tier.root / "leases" / self._name
            if path not in self._files:
                fd = opened(path, tier.modes[0])
                fcntl.flock(fd, fcntl.LOCK_SH)
                self._files[path] = fd
            os.lseek(self._files[path], 0, os.SEEK_END)
            os.write(self._files[path], f"{name}\n".encode())
            self._held.add((tier.root, name))

    def close(self) -> None:
        self._finish()
        self._held.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _end(files: dict[Path, int], owner: int) -> None:
    for path, fd in files.items():
        if os.getpid() == owner:  # not a process forked from it
            with suppress(OSError):  # the folder is gone, or closed by now
                path.unlink()
        os.close(fd)
    files.clear()


def held(tier: Tier) -> set[str]:
    """The objects of all live leases; leases of processes that ended are removed. Called with the gate held alone.

    A lease that cannot be opened counts.
    """
    names: set[str] = set()
    for path in (tier.root / "leases").iterdir():
        try:
            with locked(path, tier.modes[0], wait=False) as ours:
                if ours:
                    path.unlink()
                else:
                    names |= _names(path)
        except PermissionError:
            names |= _names(path)
    return names


def _names(path: Path) -> set[str]:
    try:
        return {*path.read_text().splitlines()}
    except FileNotFoundError:  # closed in this moment
        return set()

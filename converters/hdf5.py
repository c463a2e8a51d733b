"""HDF5, and the NetCDF library above it, in a process of their own: what a damaged file does to them ends there."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from maelio.converters.isolation import Isolated, may_fork

T = TypeVar("T")

_LIMIT_S = 60.0
_BYTES_PER_S = 10**6  # slower is no filter


class Library:
    """One process for all threads of this one: the libraries take one call at a time anyway."""

    def __init__(self, limit_s: float = _LIMIT_S) -> None:
        self._limit_s = limit_s
        self._turn = threading.Lock()
        self._process: Isolated | None = None

    def call(self, nbytes: int, function: Callable[..., T], *arguments: Any) -> T:
        """What a function of a module returns there. It may take a minute of processor time, and more for `nbytes`.

        Raises Died: the libraries did of it, took too long, or wanted more memory than there is. And what it raises.
        """
        with self._turn:
            return self._started().call(self._limit_s + nbytes / _BYTES_PER_S, function, *arguments)

    def start(self) -> None:
        """Make a copy of this process while it has no threads, in milliseconds: later a new one must load the libraries."""
        with self._turn:
            if may_fork():
                self._started()

    def close(self) -> None:
        """End what is a copy of this process: it would keep all memory that this one frees or writes to."""
        with self._turn:
            if self._process is not None and self._process.forked:
                self._process.end()
                self._process = None

    def _started(self) -> Isolated:
        if self._process is None or not self._process.usable:
            self._process = Isolated("HDF5")
        return self._process


hdf5 = Library()

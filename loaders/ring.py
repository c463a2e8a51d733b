"""Memory of batches, used again once nothing refers to it any more.

Fresh memory costs more than the read that fills it, since the kernel clears every page on first touch. A
batch that is dropped hands its buffer back; a batch that is kept belongs to whoever keeps it.
"""

import mmap
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HUGE_PAGE = 2**21


class Ring:
    """Page-aligned buffers of `nbytes`, of which at most `depth` lie free. Any thread may take one.

    `allocate` gives memory of at least so many bytes; `allocated` counts the buffers ever made.
    """

    def __init__(self, nbytes: int, depth: int, allocate: Callable[[int], Any] | None = None) -> None:
        self.nbytes = nbytes
        self._allocate = pages if allocate is None else allocate
        self.allocated = 0
        # A finalizer may run in any thread, inside any other call: a lock here could deadlock, a deque cannot.
        self._free: deque[Any] = deque(maxlen=depth)

    def take(self) -> NDArray[np.uint8]:
        """A buffer of unknown content. Shape: (nbytes,).

        It comes back to the ring when the last array or tensor that looks at it is gone.
        """
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self._allocate(self.nbytes)
            self.allocated += 1
        buffer = np.frombuffer(memory, np.uint8, self.nbytes)
        weakref.finalize(buffer, self._free.append, memory).atexit = False
        return buffer


def pages(nbytes: int) -> mmap.mmap:
    """Page-aligned zeros, given back to the system when nothing refers to them.

    A process that is forked has its own from then on. Huge pages are for such memory alone, by Linux' defaults.
    """
    mapping = mmap.mmap(-1, max(nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE") and nbytes >= _HUGE_PAGE:
        mapping.madvise(mmap.MADV_HUGEPAGE)  # 512 times fewer page faults, and fewer TLB misses after
    return mapping

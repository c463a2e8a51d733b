"""Memory for what a thread works on until its next piece of work."""

import threading
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.loaders.ring import pages


class Scratch:
    """Of each thread its own, page-aligned, used again: fresh memory costs more than the read that fills it."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def take(self, nbytes: int) -> memoryview:
        """So many bytes, which are the thread's until it asks again."""
        held: memoryview | None = getattr(self._of_thread, "held", None)
        if held is None or len(held) < nbytes:
            held = self._of_thread.held = memoryview(pages(nbytes))
        return held[:nbytes]

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The same, as values that are still to be written."""
        return np.frombuffer(self.take(prod(shape) * dtype.itemsize), dtype, prod(shape)).reshape(shape)

"""Load the libraries of a command that computes little, without what they do at start for those that compute."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Around imports. What is loaded lives to the end: no search for garbage in it, now or later.

    Where nobody said otherwise, NumPy's BLAS gets no threads in this process and its children: they spin before they
    sleep, an eighth of a second each.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()

"""Batches filled ahead by threads, each by one of them, in memory that is used again."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.loaders.ring import pages

Array = NDArray[Any]
Fill = Callable[[Array, Array], None]


class Ahead:
    """`fill(out, wanted)` puts the rows `wanted` of `shape` into `out`; a batch is valid until the next is asked for."""

    def __init__(
        self, fill: Fill, size: int, shape: tuple[int, ...], dtype: np.dtype[Any], threads: int
    ) -> None:
        self._fill = fill
        self._pool = ThreadPoolExecutor(threads)
        row = np.empty(shape, dtype)
        self._buffers = [
            np.frombuffer(pages(size * row.nbytes), dtype).reshape(size, *shape) for _ in range(threads + 2)
        ]

    def epoch(self, wanted: Sequence[Array]) -> Iterator[Array]:
        filling: deque[tuple[Array, Future[None]]] = deque()
        for number, rows in enumerate(wanted):
            if len(filling) == len(self._buffers) - 1:
                yield _waited(*filling.popleft())
            out = self._buffers[number % len(self._buffers)][: len(rows)]
            filling.append((out, self._pool.submit(self._fill, out, rows)))
        while filling:
            yield _waited(*filling.popleft())


def shuffled(count: int, size: int, epoch: int) -> list[Array]:
    """The rows of the batches of one epoch."""
    order = np.random.default_rng([0, epoch]).permutation(count)
    return [order[first : first + size] for first in range(0, count, size)]


def _waited(out: Array, filled: Future[None]) -> Array:
    filled.result()
    return out

"""Bytes are asked of the disk before the threads that decode come to them: those of the next batches, in their order.

    the loop            knows what batches come, and where it lies
    one thread          asks the kernel for it, which reads many ranges at a time, into its page cache
    threads that decode find it there

A disk wants many reads in flight, a processor as many threads as it has cores: each has its own depth so. Nothing is
asked, and no thread begun, while all is in the page cache anyway.
"""

import resource
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]

READ_AHEAD = 2**26  # bytes: what a fast disk, of 6 GB/s, reads in 10 ms

_MOST = 64  # batches that may be ahead, where little is asked for any
_LASTS = 8  # batches for which a disk that was read from is thought to go on
_THREAD = "maelio-stream-ahead"


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a shard. ``ask(shard, offset, length)`` has them read into memory, and does not wait for it."""

    ask: Callable[[int, int, int], None]
    shard: int
    offset: int
    length: int


class Disk:
    """Whether this process had to wait for a disk lately; `reads` counts what it had to read so far."""

    def __init__(self, reads: Callable[[], int] | None = None) -> None:
        self._reads = reads_of_process if reads is None else reads
        self._seen = -1
        self._left = 0

    def needed(self) -> bool:
        """Called once a batch."""
        seen = self._reads()
        self._left = _LASTS if seen != self._seen else max(0, self._left - 1)
        self._seen = seen
        return self._left > 0


def reads_of_process() -> int:
    """Blocks that were read from disks, and pages that were waited for: some file systems count only one of them."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_inblock + usage.ru_majflt


class ReadAhead:
    """At most `limit` bytes ahead of the batches that are read, and what one batch needs; with 0 nothing is asked.

    `ranges` tells which bytes the samples of a batch take.
    """

    def __init__(
        self, ranges: Callable[[Numbers], Sequence[Range]], limit: int, disk: Disk, stop: threading.Event
    ) -> None:
        self._ranges = ranges
        self._limit = limit
        self._disk = disk
        self._stop = stop
        self._thread: ThreadPoolExecutor | None = None
        self._asked: Future[None] | None = None

    def before(self, batches: Iterable[tuple[int, Numbers]]) -> Iterator[tuple[int, Numbers]]:
        """The same `batches`, each when it and those behind it were asked for."""
        left = iter(batches)
        coming: deque[tuple[int, tuple[int, Numbers]]] = deque()
        ahead = 0
        while True:
            needed = self._limit > 0 and self._disk.needed()
            while not coming or (needed and ahead < self._limit and len(coming) < _MOST):
                if (batch := next(left, None)) is None:
                    break
                nbytes = self._ask(batch[1]) if needed else 0
                ahead += nbytes
                coming.append((nbytes, batch))
            if not coming:
                return
            nbytes, batch = coming.popleft()
            ahead -= nbytes
            yield batch

    def close(self, *, wait: bool) -> None:
        """End the thread, once `stop` is set."""
        if self._thread is not None:
            self._thread.shutdown(wait=wait, cancel_futures=True)

    def _ask(self, samples: Numbers) -> int:
        """How many bytes."""
        if self._asked is not None and self._asked.done():
            self._asked.result()
        ranges = self._ranges(samples)
        if ranges:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, _THREAD)
            self._asked = self._thread.submit(self._ask_all, ranges)
        return sum(each.length for each in ranges)

    def _ask_all(self, ranges: Sequence[Range]) -> None:
        for each in ranges:
            if self._stop.is_set():
                return
            each.ask(each.shard, each.offset, each.length)

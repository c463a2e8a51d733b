"""Memory for what a thread works on until its next piece of work."""

import mmap
import threading


class Scratch:
    """Of each thread its own, page-aligned, used again: fresh memory costs more than the read that fills it."""

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def take(self, nbytes: int) -> memoryview:
        """So many bytes, which are the thread's until it asks again."""
        held: memoryview | None = getattr(self._of_thread, "held", None)
        if held is None or len(held) < nbytes:
            held = self._of_thread.held = memoryview(mmap.mmap(-1, max(nbytes, 1)))
        return held[:nbytes]

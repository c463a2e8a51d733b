"""Decoded blocks of rows that threads share: each is decoded once, then its rows are gathered by number."""

import threading
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.loaders.ring import pages

Numbers = NDArray[np.int64]
Decode = Callable[[int, NDArray[Any]], None]


class BlockCache:
    """The `slots` blocks used last, of an array cut into `blocks` blocks of `shape` (row, variable, *rest).

    A block that some thread gathers from is pinned and stays in its slot. A thread waits for a free slot only
    while it pins nothing, and for another's decoding only after its own, so they cannot wait in a circle.
    """

    def __init__(self, slots: int, *, blocks: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        slots = min(slots, blocks)
        memory = np.frombuffer(pages(slots * prod(shape) * dtype.itemsize), dtype, slots * prod(shape))
        self._blocks = memory.reshape(slots, *shape)
        self._rows = memory.reshape(slots * shape[0], -1)
        self._rows_per_block = shape[0]
        self._slot_of = np.full(blocks, -1)
        self._block_in = np.full(slots, -1)
        self._ready = np.zeros(slots, bool)
        self._pins = np.zeros(slots, np.int64)
        self._used = np.zeros(slots, np.int64)
        self._clock = 0
        self._changed = threading.Condition()

    def gather(self, rows: Numbers, out: NDArray[Any], decode: Decode) -> None:
        """Fill ``out[i]`` with row ``rows[i]``; ``decode(number, block)`` fills a block that is not held.

        Shape: rows (n,); out (n, variable, *rest), C-contiguous. What `decode` raises reaches every thread
        that wants the block, and the next to ask tries again.
        """
        numbers, which = np.unique(rows // self._rows_per_block, return_inverse=True)
        slots = self._hold(numbers, decode) if len(numbers) <= len(self._blocks) else None
        if slots is None:  # more blocks than slots: half of the rows want fewer
            half = len(rows) // 2
            self.gather(rows[:half], out[:half], decode)
            self.gather(rows[half:], out[half:], decode)
            return
        places = slots[which] * self._rows_per_block + rows % self._rows_per_block
        flat = out.reshape(len(rows), self._rows.shape[1])
        try:
            np.take(
                self._rows, places, axis=0, out=flat, mode="clip"
            )  # "raise" would gather into a copy first
        finally:
            self._unpin(slots)

    def _hold(self, numbers: Numbers, decode: Decode) -> Numbers | None:
        """Pin all blocks, decoded. None: they are more than one, and there are not slots enough."""
        while True:
            slots = self._pin_held(numbers)
            try:
                for missing in np.flatnonzero(slots < 0).tolist():
                    claim = self._claim(numbers[missing], wait=len(numbers) == 1)
                    if claim is None:
                        self._unpin(slots)
                        return None
                    slots[missing], mine = claim
                    if mine:
                        self._decode_into(slots[missing], decode)
                if self._decoded(numbers, slots):
                    return slots
            except BaseException:
                self._unpin(slots)
                raise
            self._unpin(slots)  # another thread failed at one of them: fail here, or do better

    def _pin_held(self, numbers: Numbers) -> Numbers:
        """The slots of the blocks that are held; -1: is not."""
        with self._changed:
            self._clock += 1
            slots = self._slot_of[numbers]
            held = slots[slots >= 0]
            self._pins[held] += 1
            self._used[held] = self._clock
            return slots

    def _claim(self, number: int, *, wait: bool) -> tuple[int, bool] | None:
        """Pin the slot of a block, and whether the caller has to decode it. None: no slot is free."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._slot_of[number] >= 0 or not self._pins.all())
            slot = int(self._slot_of[number])
            mine = slot < 0
            if mine:
                if self._pins.all():
                    return None
                slot = self._evict()
                self._slot_of[number], self._block_in[slot] = slot, number
            self._pins[slot] += 1
            self._used[slot] = self._clock
            return slot, mine

    def _evict(self) -> int:
        """The slot longest unused that nobody pins, emptied."""
        slot = int(np.where(self._pins == 0, self._used, self._clock + 1).argmin())
        self._empty(slot)
        return slot

    def _empty(self, slot: int) -> None:
        if self._block_in[slot] >= 0:
            self._slot_of[self._block_in[slot]] = -1
        self._block_in[slot] = -1
        self._ready[slot] = False
        self._used[slot] = 0

    def _decode_into(self, slot: int, decode: Decode) -> None:
        try:
            decode(int(self._block_in[slot]), self._blocks[slot])
        except BaseException:
            with self._changed:
                self._empty(slot)
                self._changed.notify_all()
            raise
        with self._changed:
            self._ready[slot] = True
            self._changed.notify_all()

    def _decoded(self, numbers: Numbers, slots: Numbers) -> bool:
        """Wait until other threads decoded what they had begun. False: one of them failed."""
        with self._changed:
            self._changed.wait_for(lambda: (self._ready[slots] | (self._block_in[slots] != numbers)).all())
            return bool(self._ready[slots].all())

    def _unpin(self, slots: Numbers) -> None:
        with self._changed:
            self._pins[slots[slots >= 0]] -= 1
            self._changed.notify_all()

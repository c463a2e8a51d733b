"""Decoded blocks of rows that threads share: each is decoded once, then its rows are gathered by number."""

import threading
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.loaders.ring import pages

Numbers = NDArray[np.int64]
Blocks = list[NDArray[Any]]
Decode = Callable[[int, Blocks], None]
Window = Callable[[int], tuple[slice, ...]]


class BlockCache:
    """The `slots` blocks used last, of an array cut into `blocks` blocks of `rows` rows.

    A block is held in one array for each of `shapes`, the parts of a row (variable, *rest) that are asked for.

    A block that some thread gathers from is pinned and stays in its slot. A thread waits for a free slot only
    while it pins nothing, and for another's decoding only after its own, so they cannot wait in a circle.
    """

    def __init__(
        self,
        slots: int,
        *,
        blocks: int,
        rows: int,
        shapes: Sequence[tuple[int, ...]],
        dtype: np.dtype[Any],
    ) -> None:
        slots = min(slots, blocks)
        counts = [slots * rows * prod(shape) for shape in shapes]
        self._parts = [
            np.frombuffer(pages(count * dtype.itemsize), dtype, count).reshape(slots, rows, *shape)
            for count, shape in zip(counts, shapes, strict=True)
        ]
        self._rows_per_block = rows
        self._slot_of = np.full(blocks, -1)
        self._block_in = np.full(slots, -1)
        self._ready = np.zeros(slots, bool)
        self._pins = np.zeros(slots, np.int64)
        self._used = np.zeros(slots, np.int64)
        self._clock = 0
        self._changed = threading.Condition()

    def gather(
        self, part: int, rows: Numbers, out: NDArray[Any], decode: Decode, window: Window | None = None
    ) -> None:
        """Fill ``out[i]`` with `part` of row ``rows[i]``; ``decode(number, blocks)`` fills a block not held.

        Shape: rows (n,); out (n, variable, *rest), C-contiguous. With `window`, ``out[i]`` is what
        ``window(i)`` cuts from it. What `decode` raises reaches every thread that wants the block, and the
        next to ask tries again.
        """
        numbers, which = np.unique(rows // self._rows_per_block, return_inverse=True)
        slots = self._hold(numbers, decode) if len(numbers) <= len(self._pins) else None
        if slots is None:  # more blocks than slots: half of the rows want fewer
            half = len(rows) // 2
            later = None if window is None else lambda position: window(position + half)
            self.gather(part, rows[:half], out[:half], decode, window)
            self.gather(part, rows[half:], out[half:], decode, later)
            return
        try:
            self._take(part, slots[which], rows % self._rows_per_block, out, window)
        finally:
            self._unpin(slots)

    def lacking(self, numbers: Numbers) -> Numbers:
        """Those of the blocks `numbers` that are not held now."""
        return numbers[self._slot_of[numbers] < 0]

    def _take(
        self, part: int, slots: Numbers, rows: Numbers, out: NDArray[Any], window: Window | None
    ) -> None:
        held = self._parts[part]
        if window is not None:
            for position, (slot, row) in enumerate(zip(slots.tolist(), rows.tolist(), strict=True)):
                out[position] = held[slot, row][window(position)]
            return
        flat = held.reshape(len(held) * self._rows_per_block, -1)
        places, into = slots * self._rows_per_block + rows, out.reshape(len(rows), flat.shape[1])
        np.take(flat, places, axis=0, out=into, mode="clip")  # "raise" would gather into a copy first

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
            decode(int(self._block_in[slot]), [part[slot] for part in self._parts])
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

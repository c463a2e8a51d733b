"""Batch memory: reused when dropped, never when kept."""

import gc
import mmap

import numpy as np
import torch

from maelio.loaders.ring import Ring


def test_a_dropped_buffer_is_used_again() -> None:
    """One at a time needs one buffer."""
    ring = Ring(4096, depth=3)
    for _ in range(50):
        ring.take()[:] = 1
    assert ring.allocated == 1


def test_a_buffer_stays_taken_while_any_view_of_it_lives() -> None:
    """Tensors, slices and arrays of tensors all count."""
    ring = Ring(4096, depth=3)
    array = ring.take()[:1024].view(np.float32).reshape(16, 16)
    array[:] = 1
    views = [torch.from_numpy(array)]
    views.append(views[0][3:].T)
    last = views[1].numpy()[2]
    del array, views
    gc.collect()
    ring.take()[:] = 255
    assert ring.allocated == 2
    assert (last == 1).all()
    del last
    held = [ring.take(), ring.take()]
    assert ring.allocated == len(held)


def test_kept_buffers_never_change() -> None:
    """Hundreds kept are hundreds allocated, and only `depth` of them lie free afterwards."""
    ring = Ring(64, depth=3)
    kept = [ring.take() for _ in range(300)]
    for number, buffer in enumerate(kept):
        buffer[:] = number % 251
    assert all((buffer == number % 251).all() for number, buffer in enumerate(kept))
    del buffer
    kept.clear()
    again = [ring.take() for _ in range(10)]
    assert ring.allocated == 300 + len(again) - 3


def test_buffers_begin_on_a_page() -> None:
    """Copies into unaligned memory run at a third of the speed on some processors."""
    assert Ring(100, depth=1).take().__array_interface__["data"][0] % mmap.PAGESIZE == 0

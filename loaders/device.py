"""Batches on the device that trains: page-locked memory, and copies beside the computation.

A copy runs on a CUDA stream of its own, and is begun for the next batch while the device computes with this
one. The memory that it reads from is not used again before it is done.

The CUDA part has not run yet: the machines that test maelio have none. Its tests run where there is one.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from maelio.errors import BadRequest

Batch = dict[str, torch.Tensor]

_IN_FLIGHT = 1  # batches that are copied from at a time, in place of the one that the loop would hold


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch on its way to the device. `copied` is recorded behind its last byte; None: it is there."""

    batch: Batch
    copied: torch.cuda.Event | None = None

    def arrive(self) -> Batch:
        """The batch, for whatever the calling thread has the device do from now on; it does not wait itself."""
        if self.copied is not None:
            for tensor in self.batch.values():
                current = torch.cuda.current_stream(tensor.device)
                current.wait_event(self.copied)
                tensor.record_stream(current)
        return self.batch


class Copies:
    """Sends batches to `device`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._read_from: deque[tuple[torch.cuda.Event, Batch]] = deque()

    def send(self, batch: Batch) -> Sent:
        """Begin to copy. The caller may let go of `batch`: it is kept until the copy is done."""
        if self._stream is None:
            return Sent({name: tensor.to(self._device) for name, tensor in batch.items()})
        with torch.cuda.stream(self._stream):
            sent = {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}
            copied = self._stream.record_event()
        self._read_from.append((copied, batch))
        while self._read_from and self._read_from[0][0].query():  # type: ignore[no-untyped-call]
            self._read_from.popleft()
        while len(self._read_from) > _IN_FLIGHT:
            self._read_from.popleft()[0].synchronize()
        return Sent(sent, copied)


def device_of(wanted: torch.device | str | None) -> torch.device:
    """Raises BadRequest: torch has no such device here."""
    try:
        device = torch.device("cpu" if wanted is None else wanted)
    except RuntimeError as error:
        raise BadRequest(f"device={wanted!r}: {str(error).splitlines()[0]}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadRequest(f"device={wanted!r}: torch finds no CUDA device")
    return device


def pinned(nbytes: int) -> NDArray[np.uint8]:
    """Page-locked memory, from which a CUDA device copies by itself. torch rounds it up to a power of two."""
    memory: NDArray[np.uint8] = torch.empty(max(nbytes, 1), dtype=torch.uint8, pin_memory=True).numpy()
    return memory

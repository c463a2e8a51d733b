"""One turn of one arm: its files brought to where it claims to read them from, some epochs, and the proof.

What cannot prove it has no figures: a cold turn shows that its files were on the disk alone and that they came from
there, a warm one that they are in memory before it and after it.
"""

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maelio.benchmarks.peers.pagecache import evict, expect_cold, expect_resident, fetch, resident
from maelio.benchmarks.peers.processes import usage
from maelio.benchmarks.stalls.delivered import Memory
from maelio.benchmarks.stalls.figures import (
    Line,
    rate_of_dlio,
    steady_utilisation,
    utilisation,
    utilisation_of_dlio,
)
from maelio.benchmarks.stalls.loop import Epoch, Step, Unopened, train
from maelio.benchmarks.stalls.schedule import Turn
from maelio.energy import Meter
from maelio.loaders.stream import Stream


@dataclass(frozen=True, slots=True)
class Way:
    """How the batches of a layout come: from `memory`, or from a stream that reads `files`."""

    memory: Memory
    open: Callable[[], Stream]
    files: tuple[Path, ...]


def take(
    turn: Turn, way: Way, compute: Callable[[], None], epochs: int, meters: Sequence[Meter] = ()
) -> list[tuple[Line, tuple[Step, ...]]]:
    """The epochs of a turn, the first of a stream that is not even opened.

    Raises InvalidMeasurement: files were not where the arm reads them from.
    """
    found, share = [], None
    if turn.arm == "cold":
        gc.collect()  # streams of earlier turns map files, which then stay in memory
        share = evict(way.files)
    elif turn.arm != "null":
        fetch(way.files)
        share = resident(way.files)
        expect_resident(turn.name, share)
    batches = Unopened(way.open)
    before = usage(os.getpid()).device_bytes
    for number in range(1, epochs + 1):
        epoch = train(
            way.memory if turn.arm == "null" else batches,
            None if turn.arm == "load-only" else compute,
            meters,
        )
        after = usage(os.getpid()).device_bytes
        device_bytes, before = after - before, after
        if turn.arm == "cold" and share is not None and number == 1:
            expect_cold(turn.name, share, device_bytes, _asked_for(way.files, epoch))
        line = Line(
            layout=turn.layout,
            arm=turn.arm,
            repeat=turn.repeat,
            epoch=number,
            times=epoch.times,
            au=utilisation(epoch),
            au_dlio=utilisation_of_dlio(epoch),
            samples_per_s_dlio=rate_of_dlio(epoch),
            au_steady=steady_utilisation(epoch.steps, batches.ahead),
            device_bytes=device_bytes,
            resident=share if number == 1 else None,
        )
        found.append((line, epoch.steps))
    if turn.arm in ("warm", "load-only"):
        expect_resident(turn.name, resident(way.files))
    return found


def _asked_for(files: Sequence[Path], epoch: Epoch) -> int:
    """Bytes: all of the files, or what the stream says that it asked for, if less."""
    stored = sum(path.stat().st_size for path in files)
    told = epoch.times.work.stored_bytes if epoch.times.work else 0
    return min(stored, told or stored)

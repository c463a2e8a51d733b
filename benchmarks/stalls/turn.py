"""One turn of one arm: its files brought to where it claims to read them from, some epochs, and the proof.

What cannot prove it has no figures: a cold turn shows that its files were on the disk alone and that they came from
there, a warm one that they did not.
"""

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from maelio.benchmarks.peers.pagecache import evict, expect_cold, expect_warm, fetch
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
    found, resident = [], None
    if turn.arm == "cold":
        gc.collect()  # streams of earlier turns map files, which then stay in memory
        resident = evict(way.files)
    elif turn.arm != "null":
        fetch(way.files)
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
        _prove(turn, way.files, epoch, resident if number == 1 else None, device_bytes)
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
            resident=resident if number == 1 else None,
        )
        found.append((line, epoch.steps))
    return found


def _prove(
    turn: Turn, files: Sequence[Path], epoch: Epoch, resident: float | None, device_bytes: int
) -> None:
    """`resident` is of the first epoch of a cold turn. A stream may tell that it asked for less than all of the files."""
    stored = sum(path.stat().st_size for path in files)
    if turn.arm in ("warm", "load-only"):
        expect_warm(turn.name, device_bytes, stored)
    if resident is not None:
        asked_for = epoch.times.work.stored_bytes if epoch.times.work else 0
        expect_cold(turn.name, resident, device_bytes, min(stored, asked_for or stored))

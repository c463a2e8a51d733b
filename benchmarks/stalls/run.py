"""Measure the arms of a workload in turn; the record of it, and of every epoch and step a line.

Before anything is measured, all layouts are read once and their samples compared. A cold turn proves that its files were
on the disk alone, and that they came from there; where it cannot, its arm has no figures.
"""

import gc
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from logging import ERROR, getLogger
from pathlib import Path

import numpy as np
from crc32c import crc32c
from pydantic import JsonValue, ValidationError

from maelio.benchmarks.peers.pagecache import evict, expect_cold, expect_warm, fetch
from maelio.benchmarks.peers.processes import usage
from maelio.benchmarks.stalls.device import Emulated
from maelio.benchmarks.stalls.figures import (
    Line,
    metrics_of,
    rate_of_dlio,
    rows_of,
    steady_utilisation,
    utilisation,
    utilisation_of_dlio,
)
from maelio.benchmarks.stalls.layouts import Place, Reading, prepare
from maelio.benchmarks.stalls.loop import Batch, Epoch, Memory, Unopened, checksums, count, train
from maelio.benchmarks.stalls.schedule import ARMS, Arm, Turn, schedule
from maelio.benchmarks.stalls.workloads import Layout
from maelio.converters import inplace
from maelio.energy import Meter
from maelio.environment import environment
from maelio.errors import BadData, InvalidMeasurement, NotFound
from maelio.files import write_atomically
from maelio.ledger import Times
from maelio.loaders import tars
from maelio.records import Reference, RunRecord, new_run, write_record

EPOCHS, STEPS = "epochs.jsonl", "steps.jsonl"
_HELD_BYTES = 2**28  # of the batches that the null arm has in memory: more than caches of processors


@dataclass(frozen=True, slots=True)
class Asked:
    """`epochs` of every turn, the first from nothing read; `repeats` of every turn beside the warm-up."""

    workload: str
    layouts: tuple[Layout, ...]
    reading: Reading
    compute: Emulated
    arms: tuple[Arm, ...] = ARMS
    epochs: int = 2
    repeats: int = 5


@dataclass(slots=True)
class Found:
    """`invalid`: by `LAYOUT/ARM`, why there are no figures of it."""

    lines: list[Line] = field(default_factory=list)
    steps: list[dict[str, JsonValue]] = field(default_factory=list)
    invalid: dict[str, str] = field(default_factory=dict)

    def add(self, turn: Turn, number: int, line: Line, epoch: Epoch) -> None:
        self.lines.append(line)
        self.steps += [
            {
                "layout": turn.layout,
                "arm": turn.arm,
                "repeat": turn.repeat,
                "epoch": number,
                "step": count,
                **asdict(step),
            }
            for count, step in enumerate(epoch.steps)
        ]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a layout delivers in an epoch: the checksum of every sample in order, and some batches to keep in memory."""

    samples: tuple[int, ...]
    memory: Memory

    @property
    def digest(self) -> str:
        return f"{crc32c(np.array(self.samples, '<u4').tobytes()):08x}"


def check(batches: Iterable[Batch]) -> Checked:
    """Read an epoch. Only whole batches are kept, or the one there is."""
    samples: list[int] = []
    sizes: list[int] = []
    held: list[Batch] = []
    held_bytes = 0
    for batch in batches:
        samples += checksums(batch)
        sizes.append(count(batch))
        nbytes = sum(values.nbytes for values in batch.values())
        if not held or (sizes[-1] == sizes[0] and held_bytes + nbytes <= _HELD_BYTES):
            held.append({name: values.clone() for name, values in batch.items()})
            held_bytes += nbytes
    return Checked(tuple(samples), Memory(tuple(held), tuple(sizes)))


def require_equal(found: Mapping[Layout, Checked], *, in_order: bool) -> None:
    """Raises InvalidMeasurement: the layouts do not deliver the same samples, in the same order where they should."""
    first, *others = found
    wanted = found[first].samples
    for layout in others:
        mine = found[layout].samples
        if len(mine) != len(wanted):
            raise InvalidMeasurement(f"{layout} delivers {len(mine)} samples, {first} {len(wanted)}")
        if not in_order:
            mine, wanted = tuple(sorted(mine)), tuple(sorted(wanted))
        if mine != wanted:
            number = next(place for place, (a, b) in enumerate(zip(mine, wanted, strict=True)) if a != b)
            raise InvalidMeasurement(
                f"{layout} delivers another sample {number} than {first}: crc32c {mine[number]:08x} and {wanted[number]:08x}"
            )


def bench(place: Place, asked: Asked, runs: Path, meters: Sequence[Meter] = ()) -> RunRecord:
    """Write what is missing of the data, measure, and write the record below `runs`.

    Raises:
        BadRequest: the folder holds other data.
        InvalidMeasurement: layouts differ in what they deliver.
    """
    started, start = datetime.now(UTC), time.perf_counter()
    checked = {}
    for layout in asked.layouts:
        prepare(place, layout)
        checked[layout] = check(place.open(layout, asked.reading))
    require_equal(checked, in_order=asked.reading.shuffle != "window")
    with _silent():
        found = measured(place, asked, checked, meters)
    record = RunRecord(
        run=new_run(f"bench-{asked.workload}", started),
        name="bench",
        started=started,
        wall_s=time.perf_counter() - start,
        environment=environment(),
        parameters=_parameters(place, asked, found),
        inputs=tuple(
            Reference(uri=str(place.path(layout)), digest=f"crc32c:{each.digest}")
            for layout, each in checked.items()
        ),
        metrics=metrics_of(rows_of(found.lines)) if found.lines else {},
        arms=_arms(found.lines),
        outputs=(EPOCHS, STEPS),
    )
    folder = runs / record.run
    folder.mkdir(parents=True)
    write_atomically(folder / EPOCHS, _json_lines(line.model_dump_json() for line in found.lines))
    write_atomically(folder / STEPS, _json_lines(json.dumps(step) for step in found.steps))
    write_record(record, runs)
    return record


@contextmanager
def _silent() -> Iterator[None]:
    """Readers of what was not converted say so whenever they are opened; once is enough."""
    loggers = [getLogger(module) for module in (inplace.__name__, tars.__name__)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def measured(
    place: Place, asked: Asked, checked: Mapping[Layout, Checked], meters: Sequence[Meter] = ()
) -> Found:
    """Every arm in its turn, but those that were found to be invalid."""
    found = Found()
    for turn in schedule(asked.layouts, asked.arms, asked.repeats):
        arm = f"{turn.layout}/{turn.arm}"
        if arm in found.invalid:
            continue
        try:
            _take(turn, place, asked, checked[turn.layout].memory, found, meters)
        except InvalidMeasurement as error:
            found.invalid[arm] = str(error)
    found.lines = [line for line in found.lines if f"{line.layout}/{line.arm}" not in found.invalid]
    found.steps = [step for step in found.steps if f"{step['layout']}/{step['arm']}" not in found.invalid]
    return found


def _take(
    turn: Turn, place: Place, asked: Asked, memory: Memory, found: Found, meters: Sequence[Meter]
) -> None:
    files, stored = place.files(turn.layout), place.stored_bytes(turn.layout)
    arm, resident = f"{turn.layout}/{turn.arm}", None
    gc.collect()  # streams of earlier turns map files, which then stay in memory
    if turn.arm == "cold":
        resident = evict(files)
    elif turn.arm != "null":
        fetch(files)
    batches = Unopened(lambda: place.open(turn.layout, asked.reading))
    before = usage(os.getpid()).device_bytes
    for number in range(1, (asked.epochs if turn.repeat else 1) + 1):
        epoch = train(
            memory if turn.arm == "null" else batches,
            None if turn.arm == "load-only" else asked.compute,
            meters,
        )
        after = usage(os.getpid()).device_bytes
        device_bytes, before = after - before, after
        if turn.arm in ("warm", "load-only"):
            expect_warm(arm, device_bytes, stored)
        if resident is not None and number == 1:
            asked_for = epoch.times.work.stored_bytes if epoch.times.work else 0
            expect_cold(arm, resident, device_bytes, min(stored, asked_for or stored))
        if turn.repeat:
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
            found.add(turn, number, line, epoch)


def read_lines(folder: Path) -> tuple[Line, ...]:
    """The epochs of a run. Raises NotFound: it is no run of `bench`. BadData: a line is damaged."""
    path = folder / EPOCHS
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise NotFound(f"{path}: no epochs; wanted a run of `maelio bench run`") from None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.append(Line.model_validate_json(line))
        except ValidationError as error:
            raise BadData(f"{path}, line {number}: {error.errors()[0]['msg']}") from error
    return tuple(found)


def _parameters(place: Place, asked: Asked, found: Found) -> dict[str, JsonValue]:
    reading = asked.reading
    return {
        "workload": asked.workload,
        "what": place.workload.what,
        "size": place.size,
        "layouts": list(asked.layouts),
        "arms": list(asked.arms),
        "codec": place.codec,
        "batch_size": reading.batch_size,
        "seed": reading.seed,
        "shuffle": reading.shuffle,
        "threads": reading.threads,
        "epochs": asked.epochs,
        "repeats": asked.repeats,
        "compute": "emulated",
        "step_s": asked.compute.step_s,
        "late_s": asked.compute.late_s,
        "decoded_bytes": place.scale.data.bytes,
        "stored_bytes": {layout: place.stored_bytes(layout) for layout in asked.layouts},
        "files": {layout: len(place.files(layout)) for layout in asked.layouts},
        "invalid": dict(found.invalid),
    }


def _arms(lines: Sequence[Line]) -> dict[str, tuple[Times, ...]]:
    """By `LAYOUT/ARM/EPOCH`, the repeats in order: first and later epochs stay apart."""
    return {
        str(row.key): tuple(
            line.times
            for line in lines
            if (line.layout, line.arm, line.epoch) == (row.layout, row.arm, row.epoch)
        )
        for row in rows_of(lines)
    }


def _json_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()

"""Measure the arms of a workload in turn; the record of it, and of every epoch and step a line.

Before anything is measured, all layouts are read once and their samples compared.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from logging import ERROR, getLogger
from pathlib import Path

from pydantic import JsonValue, ValidationError

from maelio.benchmarks.stalls.delivered import check, require_equal
from maelio.benchmarks.stalls.device import Emulated
from maelio.benchmarks.stalls.figures import Line, metrics_of, rows_of
from maelio.benchmarks.stalls.layouts import Place, Reading, prepare
from maelio.benchmarks.stalls.loop import Step
from maelio.benchmarks.stalls.schedule import ARMS, Arm, schedule
from maelio.benchmarks.stalls.turn import Way, take
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


@dataclass(frozen=True, slots=True)
class Found:
    """Every measured epoch with its steps. `invalid`: by `LAYOUT/ARM`, why there are no figures of it."""

    epochs: tuple[tuple[Line, tuple[Step, ...]], ...]
    invalid: Mapping[str, str]

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(line for line, _ in self.epochs)


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
    ways = {
        layout: Way(each.memory, partial(place.open, layout, asked.reading), tuple(place.files(layout)))
        for layout, each in checked.items()
    }
    with _silent():
        found = measured(ways, asked, meters)
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
        metrics={"late_s": asked.compute.late_s, **metrics_of(rows_of(found.lines))},
        arms=_arms(found.lines),
        outputs=(EPOCHS, STEPS),
    )
    folder = runs / record.run
    folder.mkdir(parents=True)
    write_atomically(folder / EPOCHS, _json_lines(line.model_dump_json() for line in found.lines))
    write_atomically(folder / STEPS, _json_lines(_steps(found)))
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


def measured(ways: Mapping[Layout, Way], asked: Asked, meters: Sequence[Meter] = ()) -> Found:
    """Every arm in its turn, but those that were found to be invalid."""
    found: dict[str, list[tuple[Line, tuple[Step, ...]]]] = {}
    invalid: dict[str, str] = {}
    for turn in schedule(asked.layouts, asked.arms, asked.repeats):
        if turn.name in invalid:
            continue
        try:
            epochs = take(turn, ways[turn.layout], asked.compute, asked.epochs if turn.repeat else 1, meters)
        except InvalidMeasurement as error:
            invalid[turn.name] = str(error)
            continue
        if turn.repeat:
            found.setdefault(turn.name, []).extend(epochs)
    valid = [epoch for name, epochs in found.items() if name not in invalid for epoch in epochs]
    return Found(tuple(valid), invalid)


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


def _steps(found: Found) -> Iterator[str]:
    for line, steps in found.epochs:
        where = line.model_dump(include={"layout", "arm", "repeat", "epoch"})
        for number, step in enumerate(steps):
            yield json.dumps({**where, "step": number, **asdict(step)})


def _json_lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()

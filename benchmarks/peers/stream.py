"""Read one data set in random order with `maelio.stream` and with what else is used: no training, loading alone.

    python -m maelio.benchmarks.peers.stream FOLDER [--set fields] [--size small] [--codec none|lz4] [--cold] [--rounds 3]

`FOLDER` receives the data set, and what each tool wants it written as: kept, and used again. Every tool is a process
of its own, with two threads or workers, and reads whole epochs for a second when it is its turn. Before its first turn
it reads an epoch of which every sample is compared with the sources; a tool that delivers another, or one
twice, has no speed.

    fields     samples of 2 MiB, batches of 16: 0.5 GB; full: 1.1 GB
    columns    samples of 5.5 kB, batches of 1024: 0.3 GB; full: 1.1 GB

All is in the page cache, which is checked: what came from a disk has no figure. With `--cold` each turn is one epoch
of a new process whose files were dropped from the page cache: that they are gone before the run, and that the
bytes came from the disk in it, is checked too.
"""

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args
from zlib import crc32

import netCDF4
import numpy as np

from maelio.benchmarks.peers.pagecache import evict, expect_cold, expect_warm, fetch
from maelio.benchmarks.peers.rounds import run
from maelio.benchmarks.peers.stream_sets import (
    FORMATS,
    ROWS,
    SETS,
    Reader,
    Set,
    Stored,
    cold,
    command,
    given_to,
    warm,
)
from maelio.benchmarks.peers.stream_table import Row, table, verdicts
from maelio.benchmarks.peers.task import ENVIRONMENTS, Size, make
from maelio.benchmarks.peers.turns import Reading, Turn
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import InvalidMeasurement, MaelioError
from maelio.files import show_bytes


@dataclass(frozen=True, slots=True)
class Place:
    """A data set in its folder, and where the environments of the tools are."""

    task: Set
    folder: Path
    environments: Path

    def data(self, reader: Reader) -> Path:
        """What the reader reads; in a format of its own as many samples as it reads."""
        if reader.data in FORMATS:
            return self.folder / f"{reader.data}-{self.task.samples(reader)}"
        return self.folder / (ROWS if reader.data == "rows" else reader.data)

    def files(self, reader: Reader) -> list[Path]:
        data = self.data(reader)
        return [path for path in data.rglob("*") if path.is_file()] if data.is_dir() else [data]

    def stored_bytes(self, reader: Reader) -> float:
        """Of the samples that the reader reads in an epoch."""
        share = 1.0 if reader.data in FORMATS else self.task.samples(reader) / self.task.count
        return share * sum(path.stat().st_size for path in self.files(reader))

    def reading(self, name: str) -> Reading:
        reader = self.task.readers[name]
        given = given_to(self.task, reader, self.folder, self.task.samples(reader))
        how = command(reader, "read", self.data(reader), given, self.environments)
        return Reading(name, how, self.folder / f"{name}.log")


@dataclass(frozen=True, slots=True)
class Turns:
    """`rounds` of every arm, each of whole epochs that take at least so many `seconds`."""

    rounds: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """The turns of each arm, or why it has none."""

    turns: dict[str, list[Turn]]
    told: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def valid(self, name: str) -> Iterator[None]:
        """An arm that fails has no figures; the others go on."""
        try:
            yield
        except InvalidMeasurement as error:
            self.told[name] = f"INVALID: {error}"
            self.turns.pop(name, None)


def prepare(place: Place) -> Counter[int]:
    """Write the sources, and all their values in one file, where they are not there yet; the checksums of all samples.

    Raises BadRequest: the folder holds another data set.
    """
    sources = make(place.folder / "source", place.task.work)
    rows = place.folder / ROWS
    shape = place.task.count, *place.task.shape
    if not rows.exists():
        part = rows.with_suffix(".part")
        values = np.memmap(part, np.float32, "w+", shape=shape)
        for path, block in zip(sources, np.split(values, len(sources)), strict=True):
            with netCDF4.Dataset(path) as file:
                file.set_auto_mask(False)
                for number, name in enumerate(place.task.variables):
                    block[:, number] = file[name][:]
        values.flush()
        part.rename(rows)
    return Counter(crc32(row) for row in np.memmap(rows, np.float32, "r", shape=shape))


def write(place: Place, reader: Reader) -> None:
    """Write what the reader reads, where it is not there yet. Raises InvalidMeasurement: its tool fails at it."""
    target = place.data(reader)
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        return
    shutil.rmtree(part, ignore_errors=True)
    if reader.data in FORMATS:
        form = FORMATS[reader.data]
        given = given_to(place.task, form, place.folder, place.task.samples(reader))
        how = command(form, "write", part, given, place.environments)
        run(how, place.folder / f"{target.name}.log")
    else:
        sources = place.task.work.paths(place.folder / "source")
        convert(sources, part, Options(samples=place.task.dimension, codec=reader.stored))
    part.rename(target)


def check(place: Place, reading: Reading, truth: Counter[int]) -> None:
    """Compare the samples of one epoch with all there are.

    Raises InvalidMeasurement: some are missing, are not the sources', or were delivered twice.
    """
    found = Counter(reading.digests())
    wanted = place.task.samples(place.task.readers[reading.name])
    if found.total() != wanted or found - truth:
        raise InvalidMeasurement(
            f"{reading.name} delivered {found.total()} samples, wanted {wanted}; "
            f"{(found - truth).total()} of them are not the sources', or came twice"
        )


def compare(place: Place, names: Sequence[str], turns: Turns, *, from_disk: bool) -> Found:
    """Let the readers `names` read in turn, once they were found to read what the sources hold."""
    truth, found = prepare(place), Found({name: [] for name in names})
    for name in names:
        with found.valid(name):
            write(place, place.task.readers[name])
    if not from_disk:
        _take_turns(place, found, truth, turns)
        return found
    for name in list(found.turns):
        with found.valid(name), place.reading(name) as reading:
            reading.ready()
            check(place, reading, truth)
    for _ in range(turns.rounds):
        for name in list(found.turns):
            with found.valid(name):
                found.turns[name].append(_cold_turn(place, name))
    return found


def _take_turns(place: Place, found: Found, truth: Counter[int], turns: Turns) -> None:
    with ExitStack() as stack:
        readings = {name: stack.enter_context(place.reading(name)) for name in found.turns}
        for name, reading in readings.items():
            with found.valid(name):
                reading.ready()
        for name in list(found.turns):
            with found.valid(name):
                check(place, readings[name], truth)
        for _ in range(turns.rounds):
            for name in list(found.turns):
                with found.valid(name):
                    reader = place.task.readers[name]
                    fetch(place.files(reader))
                    turn = _whole(place, name, readings[name].turn(turns.seconds))
                    epochs = turn.samples / place.task.samples(reader)
                    expect_warm(name, turn.device_bytes, epochs * place.stored_bytes(reader))
                    found.turns[name].append(turn)


def _cold_turn(place: Place, name: str) -> Turn:
    """One epoch of a new process, of files that are on the disk alone."""
    reader = place.task.readers[name]
    with place.reading(name) as reading:
        reading.ready()
        resident = evict(place.files(reader))
        turn = _whole(place, name, reading.turn(0))
    expect_cold(name, resident, turn.device_bytes, place.stored_bytes(reader))
    return turn


def _whole(place: Place, name: str, turn: Turn) -> Turn:
    """Raises InvalidMeasurement: these are not whole epochs."""
    wanted = place.task.samples(place.task.readers[name])
    if not turn.samples or turn.samples % wanted:
        raise InvalidMeasurement(f"{name} read {turn.samples} samples, wanted epochs of {wanted}")
    return turn


def report(place: Place, found: Found, rounds: int, how: str) -> str:
    task = place.task
    rows = {name: Row.of(turns, task.row_bytes) for name, turns in found.turns.items()}
    what = f"{task.count} samples of {show_bytes(task.row_bytes)}, batches of {task.batch_size}, {how}"
    lines = [
        f"{what}; {len(os.sched_getaffinity(0))} cores, medians of {rounds} interleaved turn(s)",
        "every sample of every arm that has figures was found to be the sources'",
        table(task, rows, found.told),
        *verdicts(task, rows),
    ]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=SETS, default="fields")
    parser.add_argument("--size", choices=get_args(Size), default="small")
    parser.add_argument("--codec", choices=get_args(Stored), help="only what reads data stored so")
    parser.add_argument("--cold", action="store_true", help="from the disk")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="the least that a turn takes")
    parser.add_argument(
        "--arm",
        action="append",
        metavar="NAME",
        help="run this one, the limits and maelio's; may be repeated",
    )
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="what `make peers` made")
    given = parser.parse_args(argv)
    task = (cold if given.cold else warm)(SETS[given.set](given.size))
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}; wanted 1 or more")
    if not any(reader.kind == "maelio" for reader in task.readers.values()):
        parser.error(f"--set {given.set} has no arms for --cold")
    if unknown := [name for name in given.arm or () if name not in task.readers]:
        parser.error(f"no arm {unknown[0]!r}; there are {', '.join(map(repr, task.readers))}")
    readers = {
        name: reader
        for name, reader in task.readers.items()
        if (given.codec in (None, reader.stored))
        and (not given.arm or name in given.arm or reader.kind != "peer")
    }
    place = Place(replace(task, readers=readers), given.folder, given.environments)
    absent = {name: why for name, reader in readers.items() if (why := reader.absent(given.environments))}
    try:
        found = compare(
            place,
            [name for name in readers if name not in absent],
            Turns(given.rounds, given.seconds),
            from_disk=given.cold,
        )
    except MaelioError as error:
        sys.stderr.write(f"maelio: {error}\n")
        return error.exit_code
    invalid = bool(found.told)
    found.told.update({name: f"not installed: {why}" for name, why in absent.items()})
    how = "from the disk" if given.cold else "in the page cache"
    sys.stdout.write(report(place, found, given.rounds, how))
    return InvalidMeasurement.exit_code if invalid else 0


if __name__ == "__main__":
    raise SystemExit(main())

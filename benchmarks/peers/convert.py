"""Convert one data set with maelio and with what else is used, to the same codec, and chunks and shards where a tool has them.

    python -m maelio.benchmarks.peers.convert FOLDER [--set fields] [--size small] [--rounds 3] [--arm NAME ...]

`FOLDER` receives the data set, what the tools write, and their output. Every run is a process of its own, and its
imports are in the figures. Before a figure is printed, the values of all arms are compared with the sources, bit for bit.

    fields    NetCDF4 maps to samples of all variables: 8 files, 0.8 GB; full: 24 files, 2.4 GB
    columns   NetCDF4 profiles to columns of all variables, as Zarr, TFRecord and tar: 0.3 GB; full: 1.1 GB
    grib      GRIB messages of simple packing: 288, 0.3 GB; full: 1440, 1.5 GB
    ccsds     the same of CCSDS packing
    rechunk   Zarr, map by map, to the series of every place within a memory cap: 0.6 GB in 256 MiB; full: 2.4 GB in 1 GiB
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from maelio.benchmarks.peers import task_columns, task_fields, task_grib, task_rechunk
from maelio.benchmarks.peers.rounds import Row, interleave, rows, table
from maelio.benchmarks.peers.task import ENVIRONMENTS, Size, Task, make
from maelio.errors import MaelioError
from maelio.files import show_bytes

TASKS: Mapping[str, Callable[[Size], Task]] = {
    "fields": task_fields.task,
    "columns": task_columns.task,
    "grib": partial(task_grib.task, packing="grid_simple"),
    "ccsds": partial(task_grib.task, packing="grid_ccsds"),
    "rechunk": task_rechunk.task,
}


def compare(task: Task, folder: Path, rounds: int, wanted: Sequence[str], environments: Path) -> str:
    """Make the data set, run the `wanted` arms in turn, check their values; the table, and what is not in it and why.

    Raises:
        BadRequest: the folder holds another data set.
        InvalidMeasurement: a tool failed, or did not write the values of the sources.
    """
    absent = {name: reason for name in wanted if (reason := task.arms[name].absent(environments))}
    arms = {name: task.arms[name] for name in wanted if name not in absent}
    sources = make(folder / "source", task.work)
    targets = {name: folder / name for name in arms}
    commands = {name: arm.command(environments, targets[name], sources) for name, arm in arms.items()}
    costs = interleave(commands, rounds, lambda name: _clear(targets[name]), logs=folder)
    task.check(sources, targets)
    found = rows(costs, {name: arm.against for name, arm in arms.items() if arm.against in arms})
    size = f"{task.work}: {task.work.bytes / 1e6:.0f} MB decoded, {len(os.sched_getaffinity(0))} cores"
    lines = [
        f"{size}, {rounds} interleaved round(s); all values equal the sources'",
        table(found),
        *(f"{name:<28}not installed: {reason}" for name, reason in absent.items()),
        *_about_maelio(found, task.work.bytes),
        *_about_memory(found, task.memory),
    ]
    return "\n".join(lines) + "\n"


def _clear(target: Path) -> None:
    """What a run left, and what it left beside its target."""
    for path in target.parent.glob(f"{target.name}*"):
        if path.is_dir() and path.name.removeprefix(target.name) in ("", ".part", ".temporary"):
            shutil.rmtree(path)


def _about_maelio(found: Sequence[Row], decoded: int) -> list[str]:
    by_name = {row.name: row for row in found}
    maelio = by_name["maelio"]
    lines = [f"maelio: {decoded / 1e6 / maelio.wall_s:.0f} MB/s decoded"]
    if floor := by_name.get("floor"):
        wall, cpu = maelio.wall_s / floor.wall_s, maelio.cpu_s / floor.cpu_s
        lines.append(f"maelio to the floor: wall {wall:.2f}x, CPU {cpu:.2f}x")
    return lines


def _about_memory(found: Sequence[Row], cap: int | None) -> list[str]:
    if cap is None:
        return []
    kept = [row.name for row in found if row.tree_bytes <= cap]
    return [f"within the {show_bytes(cap)} that were given: {', '.join(kept) or 'none'}"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=TASKS, default="fields")
    parser.add_argument("--size", choices=get_args(Size), default="small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--arm", action="append", metavar="NAME", help="run this one and maelio's; may be repeated"
    )
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="what `make peers` made")
    given = parser.parse_args(argv)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of all arms: none computes, and BLAS's threads spin
    task = TASKS[given.set](given.size)
    wanted = given.arm or list(task.arms)
    if unknown := [name for name in wanted if name not in task.arms]:
        parser.error(f"no arm {unknown[0]!r}; there are {', '.join(map(repr, task.arms))}")
    wanted = [
        name for name in task.arms if name in wanted or name == "maelio" or _compared(task, name, wanted)
    ]
    try:
        sys.stdout.write(compare(task, given.folder, given.rounds, wanted, given.environments))
    except MaelioError as error:
        sys.stderr.write(f"maelio: {error}\n")
        return error.exit_code
    return 0


def _compared(task: Task, name: str, wanted: Sequence[str]) -> bool:
    """Whether a wanted arm is divided by this one."""
    return any(task.arms[arm].against == name for arm in wanted)


if __name__ == "__main__":
    raise SystemExit(main())

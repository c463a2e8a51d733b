"""Run commands in turn, A B C A B C, each in a process of its own, and compare their medians."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

from maelio.benchmarks.peers.processes import resident, tree
from maelio.errors import InvalidMeasurement

_SAMPLED_EVERY_S = 0.02


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process with all its children.

    `peak_bytes` is the largest single process, `tree_bytes` the most that all held together; pages that two
    processes share count for both.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    tree_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """One arm: medians over the counted rounds, the extremes of the wall time, ratios to another arm's medians."""

    name: str
    wall_s: float
    wall_min_s: float
    wall_max_s: float
    cpu_s: float
    peak_bytes: int
    tree_bytes: int
    wall_ratio: float
    cpu_ratio: float


def run(command: Sequence[str], log: Path | None = None) -> Cost:
    """What the command costs; its output goes to `log`, or errors to the terminal.

    Raises InvalidMeasurement: the command failed.
    """
    with open(log or os.devnull, "wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT if log else None, stdin=subprocess.DEVNULL
        )
        with _Watched(process.pid) as memory:
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        where = f"; its output is in {log}" if log else ""
        raise InvalidMeasurement(f"{' '.join(command)} ended with exit code {process.returncode}{where}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, memory.peak_bytes, memory.tree_bytes)


class _Watched:
    """The memory of a process and its children, looked at while it runs.

    `wait4` cannot tell: its peak begins with that of the process that started the command.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self.tree_bytes = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLED_EVERY_S):
            held = [resident(pid) for pid in tree(self._pid)]
            self.peak_bytes = max(self.peak_bytes, *(peak for _, peak in held), 0)
            self.tree_bytes = max(self.tree_bytes, sum(now for now, _ in held), self.peak_bytes)


def interleave(
    arms: Mapping[str, Sequence[str]], rounds: int, before: Callable[[str], None], logs: Path | None = None
) -> dict[str, list[Cost]]:
    """`rounds` counted runs of every arm in turn. `before` is called ahead of each run.

    Where there is more than one round, a warm-up goes ahead that is not counted.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in arms}
    for number in range(0 if rounds > 1 else 1, rounds + 1):
        for name, command in arms.items():
            before(name)
            cost = run(command, logs and logs / f"{name}.log")
            if number:
                costs[name].append(cost)
    return costs


def rows(costs: Mapping[str, Sequence[Cost]], against: Mapping[str, str] | None = None) -> list[Row]:
    """Each arm is divided by the one that `against` names for it, or by the first."""
    medians = {
        name: (median(cost.wall_s for cost in found), median(cost.cpu_s for cost in found))
        for name, found in costs.items()
    }
    first = next(iter(medians))
    base = {name: medians[(against or {}).get(name, first)] for name in costs}
    return [
        Row(
            name=name,
            wall_s=medians[name][0],
            wall_min_s=min(cost.wall_s for cost in found),
            wall_max_s=max(cost.wall_s for cost in found),
            cpu_s=medians[name][1],
            peak_bytes=max(cost.peak_bytes for cost in found),
            tree_bytes=max(cost.tree_bytes for cost in found),
            wall_ratio=medians[name][0] / base[name][0],
            cpu_ratio=medians[name][1] / base[name][1],
        )
        for name, found in costs.items()
    ]


def table(found: Sequence[Row]) -> str:
    head = (
        f"{'arm':<28}{'wall s (min-max)':>22}{'CPU s':>8}{'peak MiB':>10}{'all MiB':>9}{'wall':>9}{'CPU':>9}"
    )
    lines = [
        f"{row.name:<28}{f'{row.wall_s:.2f} ({row.wall_min_s:.2f}-{row.wall_max_s:.2f})':>22}"
        f"{row.cpu_s:>8.2f}{row.peak_bytes / 2**20:>10.0f}{row.tree_bytes / 2**20:>9.0f}"
        f"{row.wall_ratio:>8.2f}x{row.cpu_ratio:>8.2f}x"
        for row in found
    ]
    return "\n".join([head, *lines])


def this_module(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]

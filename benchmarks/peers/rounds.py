"""Run commands in turn, A B C A B C, each in a process of its own, and compare their medians."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from maelio.errors import InvalidMeasurement


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process with all its children. `peak_bytes` is the largest single process."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """One arm: medians over the counted rounds, the extremes of the wall time, ratios to the first arm."""

    name: str
    wall_s: float
    wall_min_s: float
    wall_max_s: float
    cpu_s: float
    peak_bytes: int
    wall_ratio: float
    cpu_ratio: float


def run(command: Sequence[str]) -> Cost:
    """Raises InvalidMeasurement: the command failed; its error output was shown."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InvalidMeasurement(f"{' '.join(command)} ended with exit code {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def interleave(
    arms: Mapping[str, Sequence[str]], rounds: int, before: Callable[[str], None]
) -> dict[str, list[Cost]]:
    """One discarded warm-up of every arm, then `rounds` counted ones in turn. `before` is called ahead of each run."""
    costs: dict[str, list[Cost]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, command in arms.items():
            before(name)
            cost = run(command)
            if number:
                costs[name].append(cost)
    return costs


def rows(costs: Mapping[str, Sequence[Cost]]) -> list[Row]:
    """The first arm is what the others are divided by."""
    medians = {
        name: (median(cost.wall_s for cost in found), median(cost.cpu_s for cost in found))
        for name, found in costs.items()
    }
    base_wall, base_cpu = next(iter(medians.values()))
    return [
        Row(
            name=name,
            wall_s=medians[name][0],
            wall_min_s=min(cost.wall_s for cost in found),
            wall_max_s=max(cost.wall_s for cost in found),
            cpu_s=medians[name][1],
            peak_bytes=max(cost.peak_bytes for cost in found),
            wall_ratio=medians[name][0] / base_wall,
            cpu_ratio=medians[name][1] / base_cpu,
        )
        for name, found in costs.items()
    ]


def table(found: Sequence[Row]) -> str:
    head = f"{'arm':<22}{'wall s (min-max)':>22}{'CPU s':>8}{'peak MiB':>10}{'wall':>8}{'CPU':>8}"
    lines = [
        f"{row.name:<22}{f'{row.wall_s:.2f} ({row.wall_min_s:.2f}-{row.wall_max_s:.2f})':>22}"
        f"{row.cpu_s:>8.2f}{row.peak_bytes / 2**20:>10.0f}{row.wall_ratio:>7.2f}x{row.cpu_ratio:>7.2f}x"
        for row in found
    ]
    return "\n".join([head, *lines])


def this_module(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]

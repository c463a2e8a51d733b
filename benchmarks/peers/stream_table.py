"""What the turns of all readers come to: medians, ratios to the limits, and which goals are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from maelio.benchmarks.peers.stream_sets import Goal, Set, Stored
from maelio.benchmarks.peers.turns import Turn


@dataclass(frozen=True, slots=True)
class Row:
    """Of one reader: medians over its turns; the most memory of all turns, and its own at the end of the first and last."""

    rate: float
    slowest: float
    fastest: float
    first_s: float
    cpu_s_per_gb: float
    peak_bytes: int
    own_bytes: tuple[int, int]

    @classmethod
    def of(cls, turns: Sequence[Turn], row_bytes: int) -> Self:
        rates = [turn.samples / turn.wall_s for turn in turns]
        return cls(
            rate=median(rates),
            slowest=min(rates),
            fastest=max(rates),
            first_s=median(turn.first_s for turn in turns),
            cpu_s_per_gb=median(turn.cpu_s / (turn.samples * row_bytes) * 1e9 for turn in turns),
            peak_bytes=max(turn.peak_bytes for turn in turns),
            own_bytes=(turns[0].own_bytes, turns[-1].own_bytes),
        )


def table(task: Set, rows: Mapping[str, Row], told: Mapping[str, str]) -> str:
    """A line for each reader: its figures, or why it has none, which `told` has."""
    limits = {stored: _limit(task, rows, stored) for stored in ("none", "lz4")}
    head = (
        f"{'arm':<28}{'samples/s (min-max)':>28}{'MB/s':>8}{'CPU s/GB':>10}"
        f"{'peak MiB':>10}{'own MiB':>13}{'first s':>9}{'of limit':>10}"
    )
    lines = [head]
    for name, reader in task.readers.items():
        if name in told:
            lines.append(f"{name:<28}{told[name]}")
        if (row := rows.get(name)) is None:
            continue
        limit = limits[reader.stored] or limits["none"]
        share = f"{row.rate / limit:.4f}" if limit else ""
        speed = f"{row.rate:.0f} ({row.slowest:.0f}-{row.fastest:.0f})"
        own = "-".join(f"{nbytes / 2**20:.0f}" for nbytes in row.own_bytes)
        lines.append(
            f"{name:<28}{speed:>28}{row.rate * task.row_bytes / 1e6:>8.0f}{row.cpu_s_per_gb:>10.3f}"
            f"{row.peak_bytes / 2**20:>10.0f}{own:>13}{row.first_s:>9.3f}{share:>10}"
        )
    return "\n".join(lines)


def verdicts(task: Set, rows: Mapping[str, Row]) -> list[str]:
    """A line for each goal of which all that it takes was measured."""
    lines = [line for goal in task.goals if (line := _verdict(goal, rows))]
    for name, reader in task.readers.items():
        most = task.cpu.get(reader.stored)
        if reader.kind == "maelio" and name in rows and most is not None:
            found = rows[name].cpu_s_per_gb
            lines.append(
                f"{name}: {found:.3f} CPU s/GB, wanted at most {most}: {_kept(round(found, 3) <= most)}"
            )
    return lines


def _verdict(goal: Goal, rows: Mapping[str, Row]) -> str | None:
    there = [name for name in goal.others if name in rows]
    if goal.arm not in rows or not there:
        return None
    best = max(there, key=lambda name: rows[name].rate)
    ratio = rows[goal.arm].rate / rows[best].rate
    named = goal.of if len(goal.others) == 1 else f"{goal.of} ({best})"
    return (
        f"{goal.arm}: {ratio:.3g} times {named}, wanted at least {goal.least}: {_kept(ratio >= goal.least)}"
    )


def _kept(kept: bool) -> str:
    return "kept" if kept else "MISSED"


def _limit(task: Set, rows: Mapping[str, Row], stored: Stored) -> float | None:
    """The best rate of what is a limit for data so stored."""
    rates = [
        rows[name].rate
        for name, reader in task.readers.items()
        if reader.kind == "limit" and reader.stored == stored and name in rows
    ]
    return max(rates, default=None)

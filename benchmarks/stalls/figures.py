"""What the measured epochs of all arms come to: utilisation of the accelerator, and the stalls between arms.

Sources: stalls as differences between runs, DS-Analyzer (Mohan et al., VLDB 2021, arXiv:2007.06775); AU as
`compute_metrics_train` of DLIO has it, of the version that MLPerf Storage 2.0 runs.
"""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from maelio.benchmarks.stalls.loop import Epoch, Step
from maelio.benchmarks.stalls.schedule import ARMS, Arm
from maelio.benchmarks.stalls.workloads import LAYOUTS, Layout
from maelio.ledger import Times

COMPARABLE_STEPS = 500  # of an epoch; MLPerf Storage asks for as many
COMPARABLE_REPEATS = 5
_NOISY = 0.05  # how far repeats may lie apart, of their median
_NAMED = 6  # of the noisy ones
_UNNAMED = 0.05  # of the wall time
_AS_MEMORY = (0.98, 1.02)
_SETTLED = 10  # steps that are left out at both ends of the steady state, or those read ahead if more


class Line(BaseModel):
    """One measured epoch, counted from 1. `device_bytes`: what the process read from disks, its own
    program too; `resident`: before the first epoch of a turn, the share of the pages of all files that was in memory."""

    model_config = ConfigDict(frozen=True)

    layout: Layout
    arm: Arm
    repeat: int
    epoch: int
    times: Times
    au: float | None
    au_dlio: float | None
    samples_per_s_dlio: float | None
    au_steady: float | None
    device_bytes: int
    resident: float | None = None


class Key(NamedTuple):
    """What is never averaged over: the first epoch may have read what later ones find in memory."""

    layout: Layout
    arm: Arm
    epoch: int

    def __str__(self) -> str:
        return f"{self.layout}/{self.arm}/{self.epoch}"


class Row(BaseModel):
    """One epoch of one arm, a value for each repeat. Shares are of 1.

    `stall_s`: of `warm` the time over `null`, preparing; of `cold` that over `warm`, fetching. `au_cal`: `au` over that
    of `null` in the same repeat. `overlap`: of loading or computing, whichever is shorter, the share that the other
    hides; in the middle. `residual`: the largest share of the wall time that no region has.
    """

    model_config = ConfigDict(frozen=True)

    layout: Layout
    arm: Arm
    epoch: int
    steps: int
    samples: int
    wall_s: tuple[float, ...]
    wait_s: tuple[float, ...]
    stall_s: tuple[float, ...] | None
    au: tuple[float, ...] | None
    au_dlio: tuple[float, ...] | None
    au_steady: tuple[float, ...] | None
    au_cal: tuple[float, ...] | None
    overlap: float | None
    residual: float
    device_bytes: tuple[int, ...]

    @property
    def key(self) -> Key:
        return Key(self.layout, self.arm, self.epoch)

    @property
    def samples_per_s(self) -> tuple[float, ...]:
        return tuple(self.samples / wall for wall in self.wall_s)

    @property
    def noisy(self) -> bool:
        return (max(self.wall_s) - min(self.wall_s)) / median(self.wall_s) > _NOISY


def utilisation(epoch: Epoch) -> float | None:
    """Compute over all of the wall time; null without compute."""
    return _share(sum(step.compute_s for step in epoch.steps), epoch.times.wall_s)


def utilisation_of_dlio(epoch: Epoch) -> float | None:
    """As DLIO has it: the first step, what it waited for too, is left out of both."""
    if len(epoch.steps) < 2:
        return None
    first, *others = epoch.steps
    return _share(sum(step.compute_s for step in others), epoch.times.wall_s - first.wall_s)


def rate_of_dlio(epoch: Epoch) -> float | None:
    """Samples/s as DLIO has them: two steps fewer than there were, over the time without the first one."""
    if len(epoch.steps) < 3:
        return None
    first = epoch.steps[0]
    return (len(epoch.steps) - 2) * first.samples / (epoch.times.wall_s - first.wall_s)


def steady_utilisation(steps: Sequence[Step], ahead: int) -> float | None:
    """Without the steps at both ends, while batches read `ahead` of the loop are gathered or used up; null where few are left."""
    edge = max(_SETTLED, ahead)
    settled = steps[edge : len(steps) - ahead]
    if len(settled) < _SETTLED:
        return None
    return _share(sum(step.compute_s for step in settled), sum(step.wall_s for step in settled))


def rows_of(lines: Iterable[Line]) -> tuple[Row, ...]:
    """The lines by layout, arm and epoch, in this order; an arm's repeats are those that it has lines of."""
    found: dict[Key, dict[int, Line]] = {}
    for line in lines:
        found.setdefault(Key(line.layout, line.arm, line.epoch), {})[line.repeat] = line
    keys = sorted(found, key=lambda key: (LAYOUTS.index(key.layout), ARMS.index(key.arm), key.epoch))
    return tuple(_row(key, found) for key in keys)


def _row(key: Key, found: dict[Key, dict[int, Line]]) -> Row:
    mine = [line for _, line in sorted(found[key].items())]
    null, warm, load = (found.get(key._replace(arm=arm), {}) for arm in ("null", "warm", "load-only"))
    below = {"warm": null, "cold": warm}.get(key.arm, {})
    cal = None
    if key.arm in ("warm", "cold"):
        cal = _values(
            line.au / base.au
            for line in mine
            if line.au and (base := null.get(line.repeat)) is not None and base.au
        )
    return Row(
        layout=key.layout,
        arm=key.arm,
        epoch=key.epoch,
        steps=mine[0].times.steps,
        samples=mine[0].times.samples,
        wall_s=tuple(line.times.wall_s for line in mine),
        wait_s=tuple(line.times.regions_s.get("wait", 0.0) for line in mine),
        stall_s=_values(
            line.times.wall_s - below[line.repeat].times.wall_s for line in mine if line.repeat in below
        ),
        au=_values(line.au for line in mine if line.au is not None),
        au_dlio=_values(line.au_dlio for line in mine if line.au_dlio is not None),
        au_steady=_values(line.au_steady for line in mine if line.au_steady is not None),
        au_cal=cal,
        overlap=_overlap(mine, null, load) if key.arm == "warm" and null and load else None,
        residual=max(abs(line.times.residual_s) / line.times.wall_s for line in mine),
        device_bytes=tuple(line.device_bytes for line in mine),
    )


def _overlap(both: Sequence[Line], null: dict[int, Line], load: dict[int, Line]) -> float:
    """1: the longer of computing and loading takes as long as both together; 0: they take turns."""
    together, compute, loading = (
        median(line.times.wall_s for line in lines) for lines in (both, null.values(), load.values())
    )
    return (compute + loading - together) / min(compute, loading)


def metrics_of(rows: Iterable[Row]) -> dict[str, float]:
    """The middle of each figure, `LAYOUT/ARM/EPOCH/FIGURE`."""
    found: dict[str, float] = {}
    for row in rows:
        figures = {
            "samples_per_s": row.samples_per_s,
            "wait_s": row.wait_s,
            "stall_s": row.stall_s,
            "au": row.au,
            "au_dlio": row.au_dlio,
            "au_steady": row.au_steady,
            "au_cal": row.au_cal,
            "overlap": None if row.overlap is None else (row.overlap,),
            "device_bytes": row.device_bytes,
        }
        found |= {f"{row.key}/{name}": float(median(values)) for name, values in figures.items() if values}
    return found


def caveats(rows: Sequence[Row]) -> list[str]:
    """What keeps these figures from being compared with others, in words."""
    found = []
    if (steps := min(row.steps for row in rows)) < COMPARABLE_STEPS:
        found.append(f"smoke: {steps} steps an epoch, wanted {COMPARABLE_STEPS}")
    if (repeats := min(len(row.wall_s) for row in rows)) < COMPARABLE_REPEATS:
        found.append(f"smoke: {repeats} repeats, wanted {COMPARABLE_REPEATS}")
    if noisy := [str(row.key) for row in rows if row.noisy]:
        more = f" and {len(noisy) - _NAMED} more" if len(noisy) > _NAMED else ""
        found.append(f"noisy: repeats lie more than {_NOISY:.0%} apart: {', '.join(noisy[:_NAMED])}{more}")
    if lost := [str(row.key) for row in rows if row.residual > _UNNAMED]:
        found.append(f"flagged: more than {_UNNAMED:.0%} of the time is in no region: {', '.join(lost)}")
    return found


def as_from_memory(rows: Sequence[Row]) -> dict[Layout, bool]:
    """Of each layout, whether the last epoch out of the page cache is as good as one out of memory: AU_cal is 98 to 102 %."""
    last = {row.layout: row for row in rows if row.arm == "warm"}  # epochs come in order
    return {
        layout: _AS_MEMORY[0] <= median(row.au_cal) <= _AS_MEMORY[1]
        for layout, row in last.items()
        if row.au_cal is not None
    }


def _share(part: float, whole: float) -> float | None:
    return part / whole if part and whole > 0 else None


def _values(values: Iterable[float]) -> tuple[float, ...] | None:
    return tuple(values) or None

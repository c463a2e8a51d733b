"""Measured epochs, made up: with the wall times that a test wants."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from maelio.benchmarks.stalls.figures import (
    Line,
    metrics_of,
    rate_of_dlio,
    rows_of,
    steady_utilisation,
    utilisation,
    utilisation_of_dlio,
)
from maelio.benchmarks.stalls.loop import Epoch, Step
from maelio.benchmarks.stalls.schedule import Arm
from maelio.benchmarks.stalls.workloads import Layout
from maelio.environment import Environment
from maelio.ledger import Region, Times
from maelio.records import RunRecord


def epoch_of(steps: Sequence[Step], tail_s: float = 0.0) -> Epoch:
    """`tail_s`: after the last step, until the loader ends."""
    regions: dict[Region, float] = {
        "wait": sum(step.wait_s for step in steps) + tail_s,
        "forward": sum(step.compute_s for step in steps),
        "other": sum(step.other_s for step in steps),
    }
    times = Times(
        wall_s=sum(regions.values()),
        regions_s=regions,
        steps=len(steps),
        samples=sum(step.samples for step in steps),
    )
    return Epoch(times, tuple(steps))


def line_of(epoch: Epoch, arm: Arm, repeat: int, number: int = 1, layout: Layout = "netcdf") -> Line:
    return Line(
        layout=layout,
        arm=arm,
        repeat=repeat,
        epoch=number,
        times=epoch.times,
        au=utilisation(epoch),
        au_dlio=utilisation_of_dlio(epoch),
        samples_per_s_dlio=rate_of_dlio(epoch),
        au_steady=steady_utilisation(epoch.steps, 3),
        device_bytes=0,
    )


def record_of(lines: Sequence[Line], **parameters: object) -> RunRecord:
    given = {
        "workload": "field", "what": "maps", "size": "tiny", "layouts": ["netcdf"], "batch_size": 4, "seed": 0,
        "threads": 2, "repeats": 5, "compute": "emulated", "step_s": 0.05, "files": {"netcdf": 2},
        "stored_bytes": {"netcdf": 2**20}, "invalid": {},
    }  # fmt: skip
    arms: dict[str, tuple[Times, ...]] = {}
    for line in lines:
        name = f"{line.layout}/{line.arm}/{line.epoch}"
        arms[name] = (*arms.get(name, ()), line.times)
    return RunRecord.model_validate(
        {
            "run": "20261123T120000Z-bench-field-abc123",
            "name": "bench",
            "started": datetime(2026, 11, 23, 12, tzinfo=UTC),
            "wall_s": 60.0,
            "environment": environment_of("node"),
            "parameters": {**given, **parameters},
            "inputs": (),
            "metrics": metrics_of(rows_of(lines)),
            "arms": arms,
        }
    )


def environment_of(host: str) -> Environment:
    return Environment(
        host=host, system="Linux", python="3.11.7", processor="A", cores=2, memory_bytes=8 * 2**30, gpus=(),
        packages={"maelio": "0.1.0"},
    )  # fmt: skip


def timed(walls: Mapping[Arm, Sequence[float]], number: int = 1) -> list[Line]:
    """Ten steps each, which compute for half a second together; the rest is waiting. A value for each repeat."""
    found = []
    for arm, values in walls.items():
        for repeat, wall in enumerate(values, 1):
            compute = 0.0 if arm == "load-only" else 0.05
            step = Step(samples=4, wait_s=wall / 10 - compute, compute_s=compute, other_s=0.0)
            found.append(line_of(epoch_of([step] * 10), arm, repeat, number))
    return found

"""A run record with every entry that a report shows, made up."""

from datetime import UTC, datetime

from maelio.environment import Environment
from maelio.ledger import Times, Work
from maelio.records import Reference, RunRecord


def some_times(wall_s: float, wait_s: float, work: Work | None = None) -> Times:
    compute = wall_s - wait_s - 0.03
    regions = {
        "wait": wait_s, "transform": 0.02, "forward": compute / 2, "backward": compute / 2, "other": 0.01,
    }  # fmt: skip
    late = [1.0 + 0.5 * (number % 7 == 3) for number in range(15)]
    each = {name: [spent * one / sum(late) for one in late] for name, spent in regions.items()}
    cells = {"wait": {"": wait_s, "fetch": 0.004, "fetch+decode": 0.001}, "forward": {"fetch": 0.01}}
    return Times.model_validate(
        {
            "wall_s": wall_s, "regions_s": regions, "steps": 15, "samples": 237, "work": work,
            "background": {"threads": 2, "cells_s": cells} if work else None,
            "each": {"numbers": range(15), "regions_s": each},
        }
    )  # fmt: skip


def some_record() -> RunRecord:
    work = Work(fetch_s=0.0123, decode_s=0.0456, stored_bytes=2**20, delivered_bytes=7 * 2**20)
    return RunRecord(
        run="20261123T120000Z-pipeline-abc123",
        name="pipeline",
        started=datetime(2026, 11, 23, 12, tzinfo=UTC),
        wall_s=41.7,
        environment=Environment(
            host="node<1>", system="Linux", python="3.11.7", processor="A | B *C*", cores=2,
            memory_bytes=8 * 2**30, gpus=(), packages={"maelio": "0.1.0", "torch": "2.13.0", "prefect": None},
        ),
        parameters={
            "dataset": "maelio-hadgem", "train": "E1", "test": "A1B", "threads": 2, "torch_threads": 2,
            "turns": ["naive", "maelio", "maelio", "naive"],
        },
        inputs=(Reference(uri="/data/E1.nc", digest="crc32c:0badcafe"),),
        metrics={
            "rmse_K": 0.7654, "persistence_rmse_K": 0.8876, "mean_rmse_K": 0.7731, "train_samples": 237,
            "test_samples": 97, "left_out_samples": 140,
        },
        arms={
            "naive": (some_times(0.50, 0.2), some_times(0.51, 0.22)),
            "maelio": (some_times(0.32, 0.02, work), some_times(0.33, 0.03, work)),
        },
        outputs=("runs/1/report.md", "runs/1/report.html", "runs/1/plot.svg", "runs/1/model.pt"),
    )  # fmt: skip

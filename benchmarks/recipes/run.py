"""A recipe run for the record: the outcome as files that anyone can read, and that repeat it."""

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import torch

from maelio.benchmarks.recipes.recipe import Recipe
from maelio.benchmarks.recipes.train import Outcome, train
from maelio.environment import environment
from maelio.files import write_atomically
from maelio.records import Reference, RunRecord, new_run, write_record

RECIPE, LOSSES, MODEL = "recipe.yaml", "losses.csv", "model.pt"


@dataclass(frozen=True)
class Ran:
    """`failed`: why the outcome is not good enough, a line each."""

    record: RunRecord
    folder: Path
    failed: tuple[str, ...]


def run_recipe(
    recipe: Recipe,
    runs: Path,
    tell: Callable[[int, float, float], None] = lambda epoch, loss, validated: None,
) -> Ran:
    """Train, and write `runs/<run>/`: the record, the recipe with all that was set, the losses, and the weights.

    `torch.load(model.pt, weights_only=True)` reads the weights. Raises what `train` raises; nothing is written then.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    outcome = train(recipe, tell)
    run = new_run(recipe.name, started)
    folder = runs / run
    folder.mkdir(parents=True)
    write_atomically(folder / RECIPE, recipe.text().encode())
    write_atomically(folder / LOSSES, _table(outcome).encode())
    torch.save(outcome.model.state_dict(), part := folder / f"{MODEL}.part")
    part.replace(folder / MODEL)
    record = RunRecord(
        run=run,
        name=recipe.name,
        started=started,
        wall_s=time.perf_counter() - clock,
        environment=environment(),
        parameters={
            "recipe": recipe.text(),
            "model_digest": outcome.digest,
            "torch_threads": torch.get_num_threads(),
            "failed": list(outcome.failed),
        },
        inputs=tuple(Reference(uri=str(store.path), digest=store.digest) for store in outcome.stores),
        metrics=outcome.metrics,
        arms={"train": outcome.times, "validation": outcome.validation_times},
        outputs=tuple(str(folder / name) for name in (RECIPE, LOSSES, MODEL)),
    )
    write_record(record, runs)
    return Ran(record, folder, outcome.failed)


def _table(outcome: Outcome) -> str:
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["epoch", "train_loss", "validation_loss", "train_wall_s", "validation_wall_s"])
    for epoch, validated in enumerate(outcome.validation_losses):
        trained = outcome.losses[epoch - 1] if epoch else ""
        wall_s = outcome.times[epoch - 1].wall_s if epoch else ""
        table.writerow([epoch, trained, validated, wall_s, outcome.validation_times[epoch].wall_s])
    return text.getvalue()

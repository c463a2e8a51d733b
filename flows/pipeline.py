"""The main job as a Prefect flow: a dataset by its name, converted, streamed, trained on, compared, reported.

What passes between the tasks are references (where something lies, and its digest) and figures, never arrays: a
task may run on any machine that sees the same files.
"""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import climetlab
import torch
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict

from maelio.benchmarks import next_year
from maelio.benchmarks.report import MARKDOWN, PAGE, write_report
from maelio.benchmarks.training import Epoch
from maelio.benchmarks.words import PLOT, to_markdown
from maelio.converters.convert import convert as convert_files
from maelio.converters.options import Options
from maelio.environment import environment
from maelio.files import show_bytes
from maelio.flows.references import kept, path_of, reference_to, store_of
from maelio.ledger import Times
from maelio.records import Reference, RunRecord, new_run, write_record

DATASET = "maelio-hadgem"
TRAIN, TEST = "E1", "A1B"
MODEL = "model.pt"
OUTPUTS = (MARKDOWN, PAGE, PLOT, MODEL)


class Trained(BaseModel):
    """The file of a model, and how good it is: keys as in the metrics of a run record."""

    model_config = ConfigDict(frozen=True)

    model: Reference
    metrics: dict[str, float]


class Compared(BaseModel):
    """The measured epochs of every arm, its training loss in the last one, and whose turn it was when."""

    model_config = ConfigDict(frozen=True)

    arms: dict[str, tuple[Times, ...]]
    metrics: dict[str, float]
    turns: tuple[str, ...]


@task(task_run_name="ingest {scenario}")
def ingest(scenario: str) -> tuple[Reference, ...]:
    """Find the files of the dataset through climetlab."""
    files = climetlab.load_dataset(DATASET, scenario=scenario).files()
    for file in files:
        get_run_logger().info("%s, %s", file.name, show_bytes(file.stat().st_size))
    return tuple(reference_to(file) for file in files)


@task(task_run_name="convert {scenario}")
def convert(scenario: str, sources: tuple[Reference, ...], stores: Path, threads: int) -> Reference:
    """Make the store of a scenario, or keep the one that is there if its sources have not changed."""
    target = stores / f"{DATASET}-{scenario}.zarr"
    files = [path_of(source) for source in sources]
    options = Options(threads=threads, overwrite=True)
    store = kept(target, files, options)
    if store:
        get_run_logger().info("%s is up to date", target)
    else:
        store = convert_files(files, target, options)
        get_run_logger().info("%d samples to %s", store.samples, target)
    return Reference(uri=str(target), digest=store.digest)


@task(task_run_name="train")
def train(training: Reference, testing: Reference, model: Path, epochs: int, threads: int) -> Trained:
    """Train with `maelio.stream`, test on years that were not trained on, write the model."""
    log = get_run_logger()

    def tell(number: int, epoch: Epoch) -> None:
        log.info(
            "epoch %d of %d: loss %.6f, %.0f samples/s", number, epochs, epoch.loss, epoch.times.samples_per_s
        )

    started = time.perf_counter()
    result = next_year.train_and_test(
        store_of(training), store_of(testing), epochs=epochs, threads=threads, tell=tell
    )
    wall_s = time.perf_counter() - started
    next_year.save_model(result.learner, model)
    skill = result.skill
    metrics = {
        "rmse_K": skill.model.rmse,
        "persistence_rmse_K": skill.persistence.rmse,
        "mean_rmse_K": skill.mean.rmse,
        "test_samples": skill.tested,
        "left_out_samples": skill.left_out,
        "train_samples": result.train_samples,
        "train_wall_s": wall_s,
        "train_loss": result.epochs[-1].loss,
    }
    return Trained(model=reference_to(model), metrics=metrics)


@task(task_run_name="benchmark")
def benchmark(source: Reference, store: Reference, epochs: int, threads: int) -> Compared:
    """Compare xarray over the source with `maelio.stream` over the store, epoch by epoch."""
    comparison = next_year.compare_loading(path_of(source), store_of(store), epochs=epochs, threads=threads)
    losses = {f"{arm}_loss": losses[-1] for arm, losses in comparison.losses.items()}
    return Compared(arms=dict(comparison.times), metrics=losses, turns=comparison.turns)


@task(task_run_name="report")
def report(record: RunRecord, runs: Path) -> None:
    """Write the record and its report, and keep the text as an artifact of the flow run."""
    folder = write_record(record, runs)
    write_report(record, folder)
    create_markdown_artifact(to_markdown(record, plot=None), key="report", description=record.run)


@flow(name="pipeline")
def pipeline(folder: Path, epochs: int, benchmark_epochs: int, threads: int) -> RunRecord:
    """Everything of a run lies below `folder`: `stores/`, and `runs/<run>/` with record, report and model."""
    started, clock = datetime.now(UTC), time.perf_counter()
    run = new_run("pipeline", started)
    runs = folder / "runs"
    scenarios = (TRAIN, TEST)
    sources = {scenario: ingest(scenario) for scenario in scenarios}
    stores = {
        scenario: convert(scenario, sources[scenario], folder / "stores", threads) for scenario in scenarios
    }
    trained = train(stores[TRAIN], stores[TEST], runs / run / MODEL, epochs, threads)
    compared = benchmark(sources[TRAIN][0], stores[TRAIN], benchmark_epochs, threads)
    record = RunRecord(
        run=run,
        name="pipeline",
        started=started,
        wall_s=time.perf_counter() - clock,
        environment=environment(),
        parameters={
            "dataset": DATASET,
            "variable": next_year.VARIABLE,
            "train": TRAIN,
            "test": TEST,
            "window": list(next_year.WINDOW),
            "batch_size": next_year.BATCH_SIZE,
            "seed": next_year.SEED,
            "epochs": epochs,
            "benchmark_epochs": benchmark_epochs,
            "turns": list(compared.turns),
            "threads": threads,
            "torch_threads": torch.get_num_threads(),
            "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        },
        inputs=(*(source for one in sources.values() for source in one), *stores.values()),
        metrics={**trained.metrics, **compared.metrics},
        arms=compared.arms,
        outputs=tuple(str(runs / run / name) for name in OUTPUTS),
    )
    report(record, runs)
    return record

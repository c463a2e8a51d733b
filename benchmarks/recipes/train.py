"""A recipe carried out: trained epoch by epoch, validated before the first and after each, timed, and the same every time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import climetlab
import torch
import xarray as xr
from torch import Tensor, nn

from maelio.benchmarks.recipes.recipe import Recipe, Setup
from maelio.benchmarks.recipes.tasks import Task, flat
from maelio.errors import BadRequest
from maelio.ledger import Times, measure
from maelio.loaders.stream import Stream
from maelio.store import Store


@dataclass(frozen=True)
class Outcome:
    """What came of a recipe.

    Args:
        losses: mean loss of the training samples, of each epoch while it was trained.
        validation_losses: mean loss of the validation samples, first of the untrained model, then after each epoch.
        times, validation_times: of these epochs and validations.
        metrics: of the last epoch, what the criteria of the recipe are about.
        digest: `sha256:...` of the names and values of all weights.
        failed: why it has not passed, a line each.
    """

    model: nn.Module
    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]
    times: tuple[Times, ...]
    validation_times: tuple[Times, ...]
    metrics: dict[str, float]
    digest: str
    stores: tuple[Store, Store]
    failed: tuple[str, ...]


def train(
    recipe: Recipe, tell: Callable[[int, float, float], None] = lambda epoch, loss, validated: None
) -> Outcome:
    """Carry out `recipe`. `tell` hears of every epoch: its number, from 1, and both losses.

    The same recipe gives the same losses and weights, bit for bit, on one machine with one number of threads of torch:
    torch then uses none but deterministic algorithms. Its random state is as before when this returns.

    Raises what the parts of the recipe raise.
    """
    setup = recipe.setup
    training, validation = (_stream(setup, part) for part in ("train", "validation"))
    with _repeatable(setup.seed):
        given = _given(training, setup)
        model: nn.Module = setup.model.build(**given)
        loss: nn.Module = setup.loss.build(**given)
        optimizer: torch.optim.Optimizer = setup.optimizer.build(model.parameters(), **given)
        scheduler = setup.scheduler and setup.scheduler.build(optimizer, **given)
        task: Task = setup.task.callable()
        validated, spent = _validate(model, loss, task, validation)
        losses, times, validations, validation_times = [], [], [validated], [spent]
        for epoch in range(setup.epochs):
            training.set_epoch(epoch)
            trained, spent = _epoch(model, loss, task, optimizer, scheduler, training)
            losses.append(trained)
            times.append(spent)
            validated, spent = _validate(model, loss, task, validation)
            validations.append(validated)
            validation_times.append(spent)
            tell(epoch + 1, trained, validated)
        scores = _scores(setup, model, task, validation, given)
    metrics = {
        "train_loss": losses[-1] if losses else float("nan"),
        "validation_loss": validations[-1],
        "parameters": float(sum(one.numel() for one in model.parameters())),
        **scores,
    }
    return Outcome(
        model=model,
        losses=tuple(losses),
        validation_losses=tuple(validations),
        times=tuple(times),
        validation_times=tuple(validation_times),
        metrics=metrics,
        digest=digest_of(model),
        stores=(training.store, validation.store),
        failed=tuple(recipe.passed(metrics)),
    )


def digest_of(model: nn.Module) -> str:
    """Of names, dtypes, shapes and bytes of all weights and buffers, in the order of the names."""
    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def _stream(setup: Setup, part: str) -> Stream:
    arguments = setup.data.train if part == "train" else setup.data.validation
    options: dict[str, Any] = {**setup.data.stream, **setup.loader}
    if both := sorted(set(setup.data.stream) & set(setup.loader)):
        raise BadRequest(f"{', '.join(both)} is in data.stream and in loader; wanted one of both")
    if part == "validation":
        options["shuffle"] = False
    dataset = climetlab.load_dataset(setup.data.dataset, **arguments)
    stream: Stream = dataset.to_torch(batch_size=setup.batch_size, seed=setup.seed, **options)
    return stream


def _given(stream: Stream, setup: Setup) -> dict[str, Any]:
    """What parts may ask for by name: of the data, and how long the training is."""
    batch = next(iter(stream))
    stream.set_epoch(0)
    given: dict[str, Any] = {"steps_per_epoch": len(stream), "epochs": setup.epochs}
    for name, role in (("channels", "inputs"), ("out", "targets")):
        if role in batch:
            given[name] = flat(batch[role]).shape[1]
    with xr.open_dataset(stream.store.path, engine="maelio") as dataset:
        given |= {name: dataset[name].values for name in ("latitude", "longitude") if name in dataset.coords}
    return given


def _epoch(
    model: nn.Module,
    loss: nn.Module,
    task: Task,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    batches: Stream,
) -> tuple[float, Times]:
    model.train()
    total = 0.0
    with measure() as ledger:
        for batch in ledger.waiting(batches):
            with ledger.region("forward"):
                prediction, target = task(model, batch)
                value: Tensor = loss(prediction, target)
            with ledger.region("backward"):
                optimizer.zero_grad()
                value.backward()  # type: ignore[no-untyped-call]
            with ledger.region("optimizer"):
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()
            ledger.samples += len(target)
            total += value.item() * len(target)
    return total / max(1, ledger.samples), ledger.times


@torch.no_grad()
def _validate(model: nn.Module, loss: nn.Module, task: Task, batches: Stream) -> tuple[float, Times]:
    model.eval()
    batches.set_epoch(0)
    total = 0.0
    with measure() as ledger:
        for batch in ledger.waiting(batches):
            with ledger.region("forward"):
                prediction, target = task(model, batch)
                total += loss(prediction, target).item() * len(target)
            ledger.samples += len(target)
    return total / max(1, ledger.samples), ledger.times


@torch.no_grad()
def _scores(
    setup: Setup, model: nn.Module, task: Task, batches: Stream, given: dict[str, Any]
) -> dict[str, float]:
    """The mean over variables of each score, of all validation samples."""
    scores = {name: part.build(**given) for name, part in setup.scores.items()}
    if scores:
        model.eval()
        batches.set_epoch(0)
        for batch in batches:
            prediction, target = task(model, batch)
            for score in scores.values():
                score.update(prediction, target)
    return {name: float(score.compute().mean()) for name, score in scores.items()}


@contextmanager
def _repeatable(seed: int) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)

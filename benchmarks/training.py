"""One epoch of training or testing over batches of windows, measured by a ledger."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from maelio.benchmarks.models import new_model
from maelio.benchmarks.skill import NO_ERROR, SquaredError, squared_error
from maelio.energy import Meter
from maelio.ledger import Times, measure
from maelio.store import Store

Fields = Callable[[Any], Tensor]
"""Takes a batch as its loader delivers it to the series it holds: (sample, step, latitude, longitude)."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """(value - mean) / std, both in the unit of the variable."""

    mean: float
    std: float

    @classmethod
    def of(cls, store: Store, variable: str) -> Self:
        """From the statistics that the conversion took of the whole store."""
        statistics = store.contents.stacks[store.contents.variables[variable].array].statistics[variable]
        return cls(statistics.mean[0], statistics.std[0])

    def __call__(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std

    def restore(self, normalised: Tensor) -> Tensor:
        return normalised * self.std + self.mean


@dataclass(frozen=True)
class Learner:
    """A model and the optimizer that carries its state from epoch to epoch."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    normalisation: Normalisation


def new_learner(seed: int, normalisation: Normalisation, rate: float = 3e-4) -> Learner:
    model = new_model(seed)
    return Learner(model, torch.optim.Adam(model.parameters(), lr=rate), normalisation)


@dataclass(frozen=True)
class Epoch:
    """`loss`: mean squared error of the normalised target over all samples, dimensionless."""

    times: Times
    loss: float


def train_epoch(
    learner: Learner,
    batches: Iterable[Any],
    fields: Fields,
    watch: Callable[[Tensor], None] = lambda series: None,
    meters: Sequence[Meter] = (),
) -> Epoch:
    """Train once over `batches`: every step but the last of a series goes in, the last one is the target.

    `watch` sees every series as it was delivered; its time counts as `other`.
    """
    learner.model.train()
    squares = 0.0
    with measure(meters=meters) as ledger:
        for batch in ledger.batches(batches):
            with ledger.region("transform"):
                series = fields(batch)
                normal = learner.normalisation(series)
                steps, target = normal[:, :-1], normal[:, -1]
            with ledger.region("forward"):
                loss = mse_loss(learner.model(steps), target)
            with ledger.region("backward"):
                learner.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            with ledger.region("optimizer"):
                learner.optimizer.step()
            watch(series)
            ledger.samples += len(series)
            squares += loss.item() * len(series)
    return Epoch(ledger.times, squares / ledger.samples)


@dataclass(frozen=True)
class Skill:
    """Errors over the windows that were tested; `left_out` are those with a step that was trained on.

    `persistence`: the last step stays. `mean`: the mean of the steps that go in.
    """

    model: SquaredError = NO_ERROR
    persistence: SquaredError = NO_ERROR
    mean: SquaredError = NO_ERROR
    tested: int = 0
    left_out: int = 0


def fingerprints(series: Tensor) -> list[list[bytes]]:
    """A digest of every step of every series; equal where the fields are equal, bit for bit."""
    return [[blake2b(step.tobytes(), digest_size=16).digest() for step in one.numpy()] for one in series]


def steps_in(batches: Iterable[Any], fields: Fields) -> frozenset[bytes]:
    """The fingerprints of every step that `batches` hold."""
    return frozenset(step for batch in batches for one in fingerprints(fields(batch)) for step in one)


@torch.no_grad()
def measure_skill(
    learner: Learner, batches: Iterable[Any], fields: Fields, seen: frozenset[bytes] = frozenset()
) -> Skill:
    """The errors of the model and of two plain forecasts, in the variable's unit, on unseen windows.

    A window counts as seen when one of its steps is in `seen`: scenarios of one model share the years
    before they part, and a test on those would be a test on training data.
    """
    learner.model.eval()
    skill = Skill()
    for batch in batches:
        series = fields(batch)
        fresh = series[[seen.isdisjoint(one) for one in fingerprints(series)]]
        steps, truth = fresh[:, :-1], fresh[:, -1]
        prediction = learner.normalisation.restore(learner.model(learner.normalisation(steps)))
        skill = Skill(
            model=skill.model + squared_error(prediction, truth),
            persistence=skill.persistence + squared_error(steps[:, -1], truth),
            mean=skill.mean + squared_error(steps.mean(1), truth),
            tested=skill.tested + len(fresh),
            left_out=skill.left_out + len(series) - len(fresh),
        )
    return skill

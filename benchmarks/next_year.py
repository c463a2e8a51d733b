"""The quick start's experiment: three years of temperature in, the next year out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from maelio.benchmarks.arms import fields_of, maelio_arm, naive_arm
from maelio.benchmarks.compare import Comparison, compare
from maelio.benchmarks.training import (
    Epoch,
    Learner,
    Normalisation,
    Skill,
    measure_skill,
    new_learner,
    steps_in,
    train_epoch,
)
from maelio.loaders.stream import Stream, stream
from maelio.meters import meters
from maelio.settings import load_settings
from maelio.store import Store

VARIABLE = "air_temperature"
WINDOW = (-2, -1, 0, 1)
BATCH_SIZE = 16
SEED = 0


@dataclass(frozen=True)
class Result:
    """`epochs` of training, the first one first, and the skill of what came out."""

    learner: Learner
    epochs: tuple[Epoch, ...]
    skill: Skill
    train_samples: int


def windows(store: Store, threads: int, shuffle: bool) -> Stream:
    return stream(store, batch_size=BATCH_SIZE, shuffle=shuffle, seed=SEED, window=WINDOW, threads=threads)


def beginner(store: Store) -> Learner:
    """Untrained, always the same; the normalisation is that of the training store."""
    return new_learner(SEED, Normalisation.of(store, VARIABLE))


def train_and_test(
    train: Store,
    test: Store,
    *,
    epochs: int,
    threads: int,
    tell: Callable[[int, Epoch], None] = lambda number, epoch: None,
) -> Result:
    """Train on every window of `train`, test on the windows of `test` without any year of `train`.

    `tell` hears of every epoch, counted from 1, when it is over.
    """
    learner = beginner(train)
    training = windows(train, threads, shuffle=True)
    done = []
    for number in range(epochs):
        training.set_epoch(number)
        done.append(train_epoch(learner, training, fields_of(training, VARIABLE)))
        tell(number + 1, done[-1])
    seen = steps_in(windows(train, threads, shuffle=False), fields_of(training, VARIABLE))
    testing = windows(test, threads, shuffle=False)
    skill = measure_skill(learner, testing, fields_of(testing, VARIABLE), seen)
    return Result(learner, tuple(done), skill, training.samples)


def save_model(learner: Learner, path: Path) -> None:
    """The weights and the normalisation, as `torch.load(path, weights_only=True)` reads them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    torch.save(
        {
            "model": learner.model.state_dict(),
            "mean": learner.normalisation.mean,
            "std": learner.normalisation.std,
        },
        part,
    )
    part.replace(path)


def compare_loading(source: Path, store: Store, *, epochs: int, threads: int) -> Comparison:
    """Naive against maelio, `epochs` measured epochs each. Raises InvalidMeasurement: see `compare`."""

    def new_stream() -> Stream:
        return windows(store, threads, shuffle=True)

    with naive_arm(source, VARIABLE, new_stream()) as naive, meters(load_settings().power_command) as found:
        return compare([naive, maelio_arm(new_stream, VARIABLE)], lambda: beginner(store), epochs, found)

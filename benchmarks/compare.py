"""Ways of feeding one training loop, compared epoch by epoch on the same batches."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from crc32c import crc32c
from torch import Tensor

from maelio.benchmarks.training import Epoch, Fields, Learner, train_epoch
from maelio.energy import Meter
from maelio.errors import InvalidMeasurement
from maelio.ledger import Times


@dataclass(frozen=True)
class Arm:
    """One way: `epoch(n)` gives the batches of epoch n, `fields` finds the series in a batch."""

    name: str
    epoch: Callable[[int], Iterable[Any]]
    fields: Fields


@dataclass
class Checksums:
    """What an arm delivered in one epoch: shape and CRC-32C of every batch, in order."""

    batches: list[tuple[tuple[int, ...], str]] = field(default_factory=list)

    def watch(self, series: Tensor) -> None:
        crc = crc32c(series.contiguous().numpy().data)
        self.batches.append((tuple(series.shape), f"{crc:08x}"))


@dataclass(frozen=True)
class Comparison:
    """Measured epochs by arm, the first one first; the warm-up is not among them. `turns`: the arms in the
    order in which they were measured."""

    times: Mapping[str, tuple[Times, ...]]
    losses: Mapping[str, tuple[float, ...]]
    turns: tuple[str, ...]


def schedule(arms: Sequence[Arm], epochs: int) -> list[tuple[int, Arm]]:
    """Epoch 0 is the warm-up. Every second epoch runs backwards (A B, B A, A B), so that neither arm is always
    the one to come after the other."""
    return [(epoch, arm) for epoch in range(epochs + 1) for arm in (arms[::-1] if epoch % 2 else arms)]


def compare(
    arms: Sequence[Arm], learner: Callable[[], Learner], epochs: int, meters: Sequence[Meter] = ()
) -> Comparison:
    """Train one learner an arm, all from the same start, `epochs` times after one discarded warm-up.

    Raises InvalidMeasurement: in some epoch the arms did not deliver the same batches in the same order.
    """
    learners = {arm.name: learner() for arm in arms}
    measured: dict[str, list[Epoch]] = {arm.name: [] for arm in arms}
    delivered: dict[str, Checksums] = {}
    for epoch, arm in schedule(arms, epochs):
        delivered[arm.name] = seen = Checksums()
        result = train_epoch(learners[arm.name], arm.epoch(epoch), arm.fields, seen.watch, meters)
        if epoch:
            measured[arm.name].append(result)
        if len(delivered) == len(arms):
            require_equal(delivered, epoch)
            delivered = {}
    return Comparison(
        times={name: tuple(one.times for one in results) for name, results in measured.items()},
        losses={name: tuple(one.loss for one in results) for name, results in measured.items()},
        turns=tuple(arm.name for epoch, arm in schedule(arms, epochs) if epoch),
    )


def require_equal(delivered: Mapping[str, Checksums], epoch: int) -> None:
    """Raises InvalidMeasurement: names the first batch that is not the same in all arms."""
    for number, batches in enumerate(zip_longest(*(one.batches for one in delivered.values()))):
        if len(set(batches)) > 1:
            found = ", ".join(
                f"{name} {_show(batch)}" for name, batch in zip(delivered, batches, strict=True)
            )
            raise InvalidMeasurement(f"epoch {epoch}, batch {number} differs between the arms: {found}")


def _show(batch: tuple[tuple[int, ...], str] | None) -> str:
    return f"shape {batch[0]} crc32c {batch[1]}" if batch else "has none"

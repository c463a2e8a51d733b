"""Two arms: the same batches, or no number at all."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from maelio.benchmarks.arms import maelio_arm, naive_arm
from maelio.benchmarks.compare import Arm, compare, schedule
from maelio.benchmarks.next_year import VARIABLE, compare_loading, train_and_test, windows
from maelio.benchmarks.training import Learner, Normalisation, new_learner
from maelio.converters.convert import convert
from maelio.errors import InvalidMeasurement
from maelio.store import Store, open_store


@pytest.fixture(scope="module")
def store(hadgem: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return convert([hadgem / "E1_north_america.nc"], tmp_path_factory.mktemp("stores") / "E1.zarr")


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_naive_and_maelio_deliver_the_same_batches(store: Store, hadgem: Path, epoch: int) -> None:
    stream = windows(store, threads=2, shuffle=True)
    ours = maelio_arm(lambda: windows(store, threads=2, shuffle=True), VARIABLE)
    with naive_arm(hadgem / "E1_north_america.nc", VARIABLE, stream) as naive:
        pairs = list(zip(naive.epoch(epoch), ours.epoch(epoch), strict=True))
    assert len(pairs) == 15
    for plain, streamed in pairs:
        assert torch.equal(naive.fields(plain), ours.fields(streamed))


def test_epochs_are_interleaved_and_take_turns_in_going_first() -> None:
    a, b = (Arm(name, lambda epoch: [], lambda batch: batch) for name in "ab")
    turns = [(epoch, arm.name) for epoch, arm in schedule([a, b], epochs=2)]
    assert turns == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]


def test_equal_batches_give_equal_losses(store: Store, hadgem: Path) -> None:
    found = compare_loading(hadgem / "E1_north_america.nc", store, epochs=2, threads=1)
    assert found.turns == ("maelio", "naive", "naive", "maelio")
    assert found.losses["naive"] == pytest.approx(found.losses["maelio"], rel=1e-6)
    for epochs in found.times.values():
        assert [(times.samples, times.steps) for times in epochs] == [(237, 15)] * 2
        for times in epochs:
            assert abs(times.residual_s) < 1e-6
    assert all(times.work and times.work.stored_bytes for times in found.times["maelio"])


def learner() -> Learner:
    return new_learner(0, Normalisation(0, 1))


def some_arm(name: str, change: str = "") -> Arm:
    def epoch(number: int) -> Iterable[Tensor]:
        batches = list(
            torch.split(torch.rand(6, 4, 5, 5, generator=torch.Generator().manual_seed(number)), 2)
        )
        match change:
            case "value":
                batches[1][0, 0, 0, 0] += 1e-6
            case "order":
                batches.reverse()
            case "fewer":
                batches.pop()
        return batches

    return Arm(name, epoch, lambda batch: batch)


def test_arms_that_agree_are_measured() -> None:
    found = compare([some_arm("a"), some_arm("b")], learner, epochs=1)
    assert found.losses["a"] == found.losses["b"]


@pytest.mark.parametrize(("change", "batch"), [("value", 1), ("order", 0), ("fewer", 2)])
def test_arms_that_differ_are_refused(change: str, batch: int) -> None:
    with pytest.raises(InvalidMeasurement, match=f"epoch 0, batch {batch} differs") as caught:
        compare([some_arm("a"), some_arm("b", change)], learner, epochs=1)
    assert caught.value.exit_code == 9


def test_training_lowers_the_loss_and_repeats(store: Store, hadgem: Path, tmp_path: Path) -> None:
    """The same seed gives the same losses, whatever the threads of the loader."""
    other = convert([hadgem / "A1B_north_america.nc"], tmp_path / "A1B.zarr")
    once = train_and_test(store, other, epochs=2, threads=1)
    again = train_and_test(open_store(store.path), other, epochs=2, threads=2)
    assert once.epochs[1].loss < once.epochs[0].loss
    assert [epoch.loss for epoch in once.epochs] == pytest.approx([e.loss for e in again.epochs], rel=1e-6)
    assert (once.skill.tested, once.skill.left_out, once.train_samples) == (97, 140, 237)
    assert once.skill.persistence.rmse == pytest.approx(0.88797, abs=1e-4)  # K, by numpy over the file
    assert once.skill.model.rmse < 0.8

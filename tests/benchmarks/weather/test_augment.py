"""Augmentations: keyed, alike for inputs and targets, and right for winds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import maelio
from maelio.benchmarks.weather.augment import CHANGES, Augment, Change, Winds, apply, augmented, draw
from maelio.errors import BadRequest
from tests.loaders.handwritten import write_store

WINDS = Winds((1,), (2,))  # of fields (scalar, u, v)


def divergence(fields: torch.Tensor) -> NDArray[np.float64]:
    """Of (variable, y, x) = (scalar, u, v), on a grid of unit spacing."""
    u, v = fields[1].numpy(), fields[2].numpy()
    found: NDArray[np.float64] = np.gradient(u, axis=-1) + np.gradient(v, axis=-2)
    return found


@pytest.mark.parametrize("change", CHANGES)
def test_the_divergence_of_changed_winds_is_the_changed_divergence(change: Change) -> None:
    """The scalar moves as it does: u and v are turned, not only moved."""
    fields = torch.randn(3, 6, 6, dtype=torch.float64)
    changed = apply(fields, change, WINDS)
    wanted = apply(torch.from_numpy(divergence(fields))[None], change)[0]
    np.testing.assert_allclose(divergence(changed), wanted.numpy(), atol=1e-12)
    torch.testing.assert_close(changed[:1], apply(fields[:1], change))


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_made_twice_is_none(change: Change) -> None:
    fields = torch.randn(2, 3, 5, 5)
    before = fields.clone()
    assert torch.equal(apply(apply(fields, change, WINDS), change, WINDS), fields)
    assert torch.equal(fields, before)


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=40),
    st.integers(0, 5),
    st.integers(0, 9),
    st.randoms(),
)
def test_a_draw_depends_on_the_sample_and_not_on_its_batch(
    samples: list[int], seed: int, epoch: int, random: object
) -> None:
    shuffled = list(samples)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    of = dict(zip(samples, draw(torch.tensor(samples), seed=seed, epoch=epoch).tolist(), strict=True))
    again = draw(torch.tensor(shuffled), seed=seed, epoch=epoch).tolist()
    assert again == [of[sample] for sample in shuffled]


def test_every_change_is_made_to_half_of_the_samples_and_each_by_itself() -> None:
    drawn = draw(torch.arange(20_000), seed=3, epoch=1).double()
    means, together = drawn.mean(0), drawn.T.cov()
    np.testing.assert_allclose(means.numpy(), 0.5, atol=0.02)
    np.testing.assert_allclose(together.numpy(), np.eye(3) / 4, atol=0.02)
    assert not torch.equal(drawn, draw(torch.arange(20_000), seed=3, epoch=2).double())


def test_these_draws_stay() -> None:
    """Other ones would change what a run that is resumed is trained on."""
    drawn = draw(torch.arange(6), seed=0, epoch=0).int().tolist()
    assert drawn == [[0, 0, 1], [1, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1]]


def test_a_stream_is_changed_alike_in_inputs_and_targets_on_any_ranks(tmp_path: Path) -> None:
    """What a sample becomes is the same with one rank and with two."""
    fields = np.random.default_rng(0).standard_normal((12, 3, 4, 4)).astype("f4")
    store = write_store(tmp_path / "s", {"fields": fields})
    augment = Augment({"inputs": WINDS, "targets": WINDS}, seed=5)

    def epoch(rank: int, world: int) -> dict[int, torch.Tensor]:
        batches = maelio.stream(
            store,
            batch_size=4,
            inputs=["v0", "v1", "v2"],
            targets=["v0", "v1", "v2"],
            numbers=True,
            rank=rank,
            world=world,
        )
        batches.set_epoch(2)
        return {
            int(sample): both
            for batch in augmented(batches, augment)
            for sample, both in zip(
                batch["sample"], torch.stack([batch["inputs"], batch["targets"]], 1), strict=True
            )
        }

    alone = epoch(0, 1)
    for sample, (inputs, targets) in alone.items():
        wanted = torch.from_numpy(fields[sample])
        for change, made in zip(CHANGES, draw(torch.tensor([sample]), seed=5, epoch=2)[0], strict=True):
            wanted = apply(wanted, change, WINDS) if made else wanted
        assert torch.equal(inputs, wanted)
        assert torch.equal(targets, wanted)
    shared = {**epoch(0, 2), **epoch(1, 2)}
    assert sorted(shared) == sorted(alone) == list(range(12))
    assert all(torch.equal(shared[sample], alone[sample]) for sample in alone)


def test_winds_are_found_by_name() -> None:
    assert Winds.among(("t", "v", "q", "u"), [("u", "v"), ("u10", "v10")]) == Winds((3,), (1,))
    with pytest.raises(BadRequest, match="'u' and 'v' turn together"):
        Winds.among(("t", "u"), [("u", "v")])


def test_what_cannot_be_changed_is_refused() -> None:
    with pytest.raises(BadRequest, match="wanted square"):
        apply(torch.zeros(1, 3, 4), "transpose")
    with pytest.raises(BadRequest, match="changes="):
        draw(torch.arange(2), seed=0, epoch=0, changes=["flip_z"])  # type: ignore[list-item]
    with pytest.raises(BadRequest, match="wanted also sample"):
        Augment({"fields": Winds()})({"fields": torch.zeros(1, 1, 2, 2)}, 0)
    with pytest.raises(BadRequest, match="1 eastward and 0 northward"):
        Winds((1,))

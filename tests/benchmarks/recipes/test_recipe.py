"""Recipes: what is fixed stays, what is mutable has a type, and success has a direction."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.benchmarks.recipes.ours import PATHS, find
from maelio.benchmarks.recipes.recipe import Arguments, Criterion, Data, Part, Recipe
from maelio.errors import BadRequest, NotFound

TEXT = """
name: small
fixed:
  model: {use: "maelio.benchmarks.applications.unet:UNet", args: {width: 4}}
  data: {dataset: maelio-hadgem, train: {scenario: E1}, validation: {scenario: A1B}}
  epochs: 2
mutable:
  batch_size: 16
  loss: {use: "maelio.benchmarks.weather.losses:MSSSIM", args: {data_range: 4}}
  optimizer: {use: "torch.optim:Adam", args: {lr: 1e-3}}
metrics:
  - {metric: validation_loss, better: lower, acceptable: 0.5}
"""
SMALL = Recipe.parse(TEXT)


@given(st.data())
def test_a_recipe_and_its_text_are_the_same(data: st.DataObject) -> None:
    """Whatever is changed in it."""
    plain = (
        st.none()
        | st.booleans()
        | st.integers(-(2**40), 2**40)
        | st.floats(allow_nan=False)
        | st.text(max_size=9)
    )
    arguments: st.SearchStrategy[Arguments] = st.dictionaries(
        st.text(max_size=5), plain | st.lists(plain, max_size=3), max_size=3
    )
    recipe = replace(
        SMALL,
        name=data.draw(st.text()),
        mutable={
            "batch_size": data.draw(st.integers(1, 99)),
            "loss": Part("torch.nn:MSELoss", data.draw(arguments)),
            "optimizer": {"use": "torch.optim:Adam", "args": data.draw(arguments)},
            "loader": data.draw(arguments),
        },
        metrics=tuple(
            data.draw(
                st.lists(
                    st.builds(
                        Criterion, st.text(), st.sampled_from(["lower", "higher"]), st.floats(allow_nan=False)
                    )
                )
            )
        ),
    )
    again = Recipe.parse(recipe.text())
    assert again.setup == recipe.setup
    assert again.text() == recipe.text()
    assert (again.name, again.metrics, set(again.fixed), set(again.mutable)) == (
        recipe.name, recipe.metrics, set(recipe.fixed), set(recipe.mutable),
    )  # fmt: skip


def test_the_setup_has_what_the_text_says() -> None:
    setup = SMALL.setup
    assert setup.data == Data("maelio-hadgem", {"scenario": "E1"}, {"scenario": "A1B"})
    assert setup.optimizer == Part("torch.optim:Adam", {"lr": 0.001})
    assert (setup.epochs, setup.batch_size, setup.seed) == (2, 16, 0)


@pytest.mark.parametrize(
    ("assignment", "field", "wanted"),
    [
        ("batch_size=32", "batch_size", 32),
        ("seed=7", "seed", 7),
        ("optimizer.lr=2e-3", "optimizer", Part("torch.optim:Adam", {"lr": 0.002})),
        ("optimizer.amsgrad=yes", "optimizer", Part("torch.optim:Adam", {"lr": 0.001, "amsgrad": True})),
        ("optimizer.use=torch.optim:SGD", "optimizer", Part("torch.optim:SGD", {"lr": 0.001})),
        (
            "loss.window=7",
            "loss",
            Part("maelio.benchmarks.weather.losses:MSSSIM", {"data_range": 4, "window": 7}),
        ),
        ("loader={threads: 3}", "loader", {"threads": 3}),
        ("loader.threads=3", "loader", {"threads": 3}),
    ],
)
def test_what_is_mutable_is_set_with_its_type(assignment: str, field: str, wanted: Any) -> None:
    changed = SMALL.set([assignment])
    assert getattr(changed.setup, field) == wanted
    assert changed.fixed == SMALL.fixed


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("epochs=3", "epochs is fixed in recipe 'small'; mutable: batch_size, loss, optimizer"),
        ("model.width=8", "model is fixed"),
        ("data.train.scenario=A1B", "data is fixed"),
        ("batch_size=many", "batch_size: Input should be a valid integer"),
        ("batchsize=3", "no field 'batchsize'"),
        ("loss.window=7.5", "valid integer"),
        ("loss.windows=7", "takes data_range, window"),
        ("optimizer.lr.more=7", "wanted PART.ARGUMENT=VALUE"),
        ("optimizer", "wanted FIELD=VALUE"),
        ("optimizer.lr=[", "is not YAML"),
        ("batch_size.more=1", "has no parts"),
    ],
)
def test_what_is_fixed_or_does_not_fit_is_refused(assignment: str, told: str) -> None:
    with pytest.raises(BadRequest) as error:
        SMALL.set([assignment])
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("mutable:", "mutable:\n  epochs: 3", "epochs is fixed and mutable"),
        ("  epochs: 2\n", "", "epochs: Field required"),
        ("epochs: 2", "epoch: 2", "epoch"),
        ("better: lower", "better: smaller", "metrics.0.better"),
        ("name: small", "name: [", "is not YAML"),
    ],
)
def test_a_text_that_is_no_recipe_is_refused(old: str, new: str, told: str) -> None:
    with pytest.raises(BadRequest) as error:
        Recipe.parse(TEXT.replace(old, new, 1), "a.yaml")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_success_has_a_direction(value: float, acceptable: float) -> None:
    lower, higher = (Criterion("m", better, acceptable) for better in ("lower", "higher"))
    assert lower.met(value) == (value <= acceptable)
    assert higher.met(value) == (value >= acceptable)
    assert not lower.met(float("nan"))
    assert not higher.met(float("nan"))


def test_a_run_is_told_what_it_failed() -> None:
    assert SMALL.passed({"validation_loss": 0.4}) == []
    assert SMALL.passed({"validation_loss": 0.6}) == ["validation_loss=0.6, wanted at most 0.5"]
    assert SMALL.passed({}) == ["validation_loss=nan, wanted at most 0.5"]
    assert replace(SMALL, metrics=()).passed({}) == []


def test_a_part_gets_what_it_asks_for_and_nothing_else() -> None:
    """And what the recipe sets goes before what it is offered."""
    part = Part("fractions:Fraction", {"denominator": 4})
    assert str(part.build(numerator=3, denominator=5, more=1)) == "3/4"
    with pytest.raises(BadRequest, match="unexpected keyword argument 'wide'; it takes numerator"):
        Part("fractions:Fraction", {"wide": 4}).build()


@pytest.mark.parametrize("use", ["no.such:thing", "fractions:thing", "fractions", ""])
def test_a_part_that_is_not_there_is_told(use: str) -> None:
    with pytest.raises(NotFound, match="wanted module:name"):
        Part(use).callable()


def test_every_recipe_of_the_library_can_be_read() -> None:
    """With parts that exist and take what they are given."""
    assert PATHS
    for path in PATHS:
        assert find(path.stem) == find(str(path)) == path
        recipe = Recipe.read(path)
        assert recipe.name == path.stem
        for part in (
            recipe.setup.model,
            recipe.setup.loss,
            recipe.setup.optimizer,
            *recipe.setup.scores.values(),
        ):
            assert set(part.args) <= set(part.parameters())
    with pytest.raises(
        NotFound, match=r"none: no such file, and no recipe of that name; there are .*next-year"
    ):
        find("none")
    with pytest.raises(NotFound, match="no such recipe"):
        Recipe.read(Path("none.yaml"))

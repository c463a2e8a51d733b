"""Recipes carried out on real data."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from maelio.benchmarks.recipes.ours import find
from maelio.benchmarks.recipes.recipe import Criterion, Recipe
from maelio.benchmarks.recipes.run import LOSSES, MODEL, RECIPE, Ran, run_recipe
from maelio.benchmarks.recipes.train import digest_of, train
from maelio.cli import app
from maelio.errors import BadRequest
from maelio.records import read_record


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    pytest.importorskip("iris_sample_data")
    read = Recipe.read(find("next-year"))
    return Recipe(read.name, {**read.fixed, "epochs": 1}, read.mutable, read.metrics).set(
        ["batch_size=40", "optimizer.lr=5e-3"]
    )


@pytest.fixture(scope="module")
def ran(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAELIO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run_recipe(recipe, tmp_path_factory.mktemp("runs"))


def test_training_lowers_the_loss_that_the_untrained_model_had(ran: Ran) -> None:
    rows = list(csv.DictReader((ran.folder / LOSSES).read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert rows[0]["train_loss"] == ""
    assert float(rows[1]["validation_loss"]) < float(rows[0]["validation_loss"])
    assert float(rows[1]["validation_loss"]) == ran.record.metrics["validation_loss"]


def test_what_a_run_leaves_repeats_it_bit_for_bit(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another number of threads that read, from the recipe in its folder."""
    monkeypatch.setenv("MAELIO_CACHE", str(tmp_path / "cache"))
    state = torch.random.get_rng_state()
    again = train(Recipe.read(ran.folder / RECIPE).set(["loader.threads=1"]))
    assert again.digest == ran.record.parameters["model_digest"]
    assert again.metrics == ran.record.metrics
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_record_says_what_was_trained_and_on_what(ran: Ran) -> None:
    record = read_record(ran.folder)
    assert record == ran.record
    assert Recipe.parse(str(record.parameters["recipe"])).name == "next-year"
    assert [len(record.arms[name]) for name in ("train", "validation")] == [1, 2]
    assert record.arms["train"][0].samples == 237
    assert all(reference.digest for reference in record.inputs)


def test_the_weights_are_those_of_the_digest(ran: Ran, recipe: Recipe) -> None:
    model = recipe.setup.model.build(channels=3, out=1)
    assert digest_of(model) != ran.record.parameters["model_digest"]
    model.load_state_dict(torch.load(ran.folder / MODEL, weights_only=True))
    assert digest_of(model) == ran.record.parameters["model_digest"]


def test_an_option_that_is_said_twice_is_refused(recipe: Recipe) -> None:
    with pytest.raises(BadRequest, match=r"standardise is in data\.stream and in loader"):
        train(recipe.set(["loader.standardise=false"]))


def test_the_command_line_trains_and_says_what_did_not_pass(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 8 where the loss is not what the recipe wants; the record is there all the same."""
    monkeypatch.setenv("MAELIO_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "r.yaml"
    file.write_text(replace(recipe, metrics=(Criterion("validation_loss", "lower", 0.0),)).text())
    done = CliRunner().invoke(
        app, ["bench", "train", str(file), "--set", "optimizer.lr=1e-3", "--runs", str(tmp_path / "runs")]
    )
    assert "epoch 1: loss" in done.stderr
    assert "validation_loss" in done.stdout
    assert done.exit_code == 8
    assert "wanted at most 0" in done.stderr
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 1
    assert "next-year" in CliRunner().invoke(app, ["bench", "recipes"]).stdout

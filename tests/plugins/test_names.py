"""Names that are misspelled, and `maelio datasets`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import climetlab
import pytest

import maelio
from maelio.cli import main
from maelio.errors import NotFound
from maelio.plugins import names
from maelio.plugins.catalogue import CLASSES

TYPO = "no dataset 'maelstrom-radation', nearest 'maelstrom-radiation'; `maelio datasets ls` lists those of maelio"


def test_a_misspelled_name_is_told_with_the_nearest_and_nobody_is_asked() -> None:
    """By our function, and by CliMetLab's own once ours are loaded."""
    for load in (maelio.load_dataset, climetlab.load_dataset):
        with pytest.raises(NotFound) as caught:
            load("maelstrom-radation", subset="tier-1")
        assert str(caught.value) == TYPO
    with pytest.raises(NotFound, match="nearest 'maelstrom-ens10'"):
        climetlab.load_dataset("maelstorm-ens10")


def test_another_name_is_asked_for_in_the_catalogue_unless_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def catalogue(_: Any, name: str) -> str:
        return f"{name} of the catalogue"

    guarded = names._guarded(catalogue)
    assert guarded(None, "somebody-elses") == "somebody-elses of the catalogue"
    monkeypatch.setenv("MAELIO_OFFLINE", "1")
    assert guarded(None, "somebody-elses") is None
    with pytest.raises(NameError, match="Cannot find dataset 'somebody-elses'"):
        climetlab.load_dataset("somebody-elses")


def test_the_guard_stands_once_however_often_it_is_set_up() -> None:
    names.guard()
    before = climetlab.datasets.DatasetLoader.load_remote
    names.guard()
    assert climetlab.datasets.DatasetLoader.load_remote is before


def test_what_is_described_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "ls", "--json"]) == 0
    assert [each["id"] for each in json.loads(capsys.readouterr().out)["datasets"]] == [
        each.name for each in CLASSES
    ]
    assert main(["datasets", "ls"]) == 0
    assert capsys.readouterr().out.startswith("maelstrom-yr ")


def test_one_is_shown_by_either_of_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("maelstrom-ens10", "maelio-ens10"):
        assert main(["datasets", "show", name, "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["id"] == name
        assert shown["arguments"][0]["required"]
        assert shown["sizes"]["latitude"] == 361
    assert main(["datasets", "show", "maelstrom-ens10"]) == 0
    assert "/maelstrom-ap4/output.pl.20180101\n" in capsys.readouterr().out


def test_a_misspelled_one_is_one_line_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", "maelstrom-radation"]) == 3
    assert capsys.readouterr().err == f"maelio: {TYPO}\n"


def test_importing_datasets_writes_no_settings(tmp_path: Path) -> None:
    """What CliMetLab wrote into the home folder of the user when it was imported stays as it is."""
    written = []
    for module in ("climetlab", "maelio.plugins.catalogue"):
        command = [sys.executable, "-W", "ignore", "-c", f"import {module}"]
        subprocess.run(command, check=True, env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)})
        written.append({path: path.read_bytes() for path in tmp_path.rglob("*.yaml")})
    assert written[0] == written[1] != {}

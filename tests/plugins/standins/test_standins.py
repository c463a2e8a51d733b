"""What holds for every stand-in: the same bytes for the same request, there when whole, an error that names it."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.plugins.standins import WRITERS
from tests.conftest import ROOT
from tests.plugins.standins.requests import REQUESTS, made

ALIKE = {"constants"}  # one file, whatever the seed

DIGESTS = """
import hashlib, pathlib, sys, tempfile
from tests.plugins.standins.requests import REQUESTS, made
for kind in REQUESTS:
    with tempfile.TemporaryDirectory() as folder:
        print(kind, hashlib.sha256(made(pathlib.Path(folder), kind).read_bytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("standins")
    found = {kind: digest(made(folder, kind)) for kind in REQUESTS}
    assert len([*folder.iterdir()]) == len(REQUESTS)  # and nothing beside them
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_bytes_are_the_same_in_another_process_on_a_simpler_processor(digests: dict[str, str]) -> None:
    """A checksum in a manifest names a stand-in wherever it is made: NumPy has code of its own for each processor."""
    simple = " ".join(
        np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    )  # beyond what it was built for
    environment = {
        **os.environ,
        "NPY_DISABLE_CPU_FEATURES": simple,
        "TZ": "Asia/Tokyo",
        "PYTHONHASHSEED": "1",
    }
    run = subprocess.run(
        [sys.executable, "-c", DIGESTS], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert dict(line.split() for line in run.stdout.splitlines()) == digests


def test_threads_may_write_at_once(tmp_path: Path, digests: dict[str, str]) -> None:
    """The NetCDF library is not made for that: one of them is in it at a time."""
    kinds = ["inputs", "spartacus", "yr-5GB", "ens10-sfc", "tier1", "tweets", "nogwd", "ml", "records"]
    with ThreadPoolExecutor(4) as pool:
        paths = pool.map(lambda kind: made(tmp_path, kind), kinds)
        assert {kind: digest(path) for kind, path in zip(kinds, paths, strict=True)} == {
            kind: digests[kind] for kind in kinds
        }


def test_another_seed_makes_other_numbers(tmp_path: Path, digests: dict[str, str]) -> None:
    kinds = REQUESTS.keys() - {"ens10-pl", "yr-5TB"}  # made as others are, and long
    assert {kind for kind in kinds if digest(made(tmp_path, kind, seed=1)) == digests[kind]} == ALIKE


def test_what_the_page_shows_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "standins.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})  # noqa: S102
    assert [path.name for path in tmp_path.iterdir()] == ["inputs.nc"]


def test_every_dataset_has_a_writer() -> None:
    assert {name for name, _ in REQUESTS.values()} == set(WRITERS)


def test_what_fails_leaves_nothing_and_what_was_there(tmp_path: Path) -> None:
    """Memory is short, or the disk full: no half file takes a name."""
    path = tmp_path / "a.nc"
    path.write_bytes(b"before")
    name, request = REQUESTS["inputs"]
    with pytest.raises(TypeError):
        WRITERS[name](path, request, seed=object())  # type: ignore[arg-type]
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == b"before"


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "yr-5GB",
            {"size": "6GB"},
            "maelstrom-yr: 'air_temperature' of size '6GB', wanted air_temperature of one of",
        ),
        ("yr-5GB", {"datestr": "2020-03-01"}, "'2020-03-01', wanted %Y%m%dT%HZ"),
        ("tweets", {"kind": "radar"}, "kind 'radar', wanted tweets or precipitation"),
        ("inputs", {"inout": "rad4NN_input"}, "inout 'rad4NN_input', wanted rad4NN_inputs or"),
        ("inputs", {"patch": 16}, "patch 16, wanted 0..15"),
        ("records", {"prefix": "records/clouds"}, "prefix 'clouds', wanted one of"),
        ("records", {"filenum": 52}, "filenum 52, wanted 0..51"),
        ("norm", {"field": "hr"}, "field 'hr', wanted one of"),
        ("ens10-pl", {"dtype": "ml"}, "dtype 'ml', wanted one of"),
        ("ens10-pl", {"month": "02", "day": "29"}, "month 2, day 29, wanted a day of 2018"),
        ("ens5mini", {"month": "13"}, "month 13, wanted 1..12"),
        ("tier1", {"augmented": "training"}, "augmented 'training', wanted one of"),
        ("tier2", {"month": "2016"}, "'2016', wanted %Y-%m"),
        ("production", {"wind_turbine_id": 46}, "wind_turbine_id 46, wanted 1..45"),
        ("sfc", {"hour": "06"}, "hour '06', wanted 00 or 12"),
    ],
)
def test_a_request_that_no_original_answers_is_refused(
    tmp_path: Path, kind: str, change: Mapping[str, JsonValue], message: str
) -> None:
    name, request = REQUESTS[kind]
    with pytest.raises(BadRequest, match=message):
        WRITERS[name](tmp_path / "a", {**request, **change}, scale=1e-3)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_a_scale_is_a_share_of_the_original(tmp_path: Path, scale: float) -> None:
    for kind in REQUESTS.keys() - ALIKE:
        with pytest.raises(BadRequest, match="scale of a stand-in"):
            made(tmp_path, kind, scale=scale)
    assert not [*tmp_path.iterdir()]

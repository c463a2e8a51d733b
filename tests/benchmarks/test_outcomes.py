"""The table of outcomes tells the truth: about good files and bad ones, and about a conversion that goes wrong."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.benchmarks.damage import damaged
from maelio.benchmarks.judge import Verdict, convert_one, judge
from maelio.benchmarks.outcomes import Steps, found_below, kind_of, main, outcomes, summary
from maelio.converters.convert import convert
from maelio.errors import BadData
from tests.converters.grib_files import cube, write_grib
from tests.converters.netcdf_files import write_netcdf

FIELD = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)


@given(st.binary(min_size=2), st.text(max_size=5))
def test_damage_is_another_content_that_the_seed_decides(content: bytes, seed: str) -> None:
    """Never longer, and never by luck the same."""
    found = damaged(content, seed)
    assert found == damaged(content, seed)
    assert found != content
    assert len(found) <= len(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good files, a Zarr group, and two that are refused."""
    made = tmp_path / "data"
    (made / "deeper").mkdir(parents=True)
    write_netcdf(made / "a.nc", {"t": FIELD})
    write_grib(made / "deeper" / "b.grib", cube())
    convert([made / "a.nc"], made / "c.zarr")
    (made / "d.nc").write_bytes(b"")
    write_grib(made / "e.grib", cube()[:-1])
    return made


def test_every_file_of_a_folder_has_its_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal or refused is well; counts by format and the causes stand at the end."""
    code = main([str(folder), "--json", str(tmp_path / "out.json")])
    written = capsys.readouterr().out
    found = {Path(line["file"]).name: line for line in json.loads((tmp_path / "out.json").read_text())}
    assert {name: line["what"] for name, line in found.items()} == {
        "a.nc": "equal", "b.grib": "equal", "c.zarr": "equal", "d.nc": "refused", "e.grib": "refused",
    }, written  # fmt: skip
    assert code == 0
    assert found["b.grib"]["values"] == 12 * 24
    assert found["a.nc"]["values"] >= FIELD.size
    assert "is empty" in found["d.nc"]["cause"]
    assert "1  refused    is neither NetCDF nor GRIB: it is empty" in written


def test_damaged_copies_are_refused_or_what_the_reader_sees(folder: Path) -> None:
    """Whatever the damage; the file itself stays as it is."""
    files = [folder / "a.nc", folder / "c.zarr", folder / "deeper" / "b.grib"]
    before = files[0].read_bytes()
    found = list(outcomes(files, damage=2, seed=1))
    assert len(found) == 3 * 2
    assert all(outcome.accepted for outcome in found), summary(found)
    assert any(outcome.what == "refused" for outcome in found)
    assert files[0].read_bytes() == before


def die(source: Path, target: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def sleep(source: Path, target: Path) -> None:
    time.sleep(60)


def fail(source: Path, target: Path) -> None:
    raise KeyError("a fault")


def differ(source: Path, target: Path) -> Verdict:
    return Verdict(1, 24, ("t: 1 of 24 values differ",))


@pytest.mark.parametrize(
    ("steps", "what", "cause"),
    [
        ((die, judge), "KILLED", "SIGSEGV"),
        ((sleep, judge), "TIMED OUT", "2 s"),
        ((fail, judge), "TRACEBACK", "KeyError: 'a fault' at "),
        ((convert_one, differ), "DIFFERENT", "1: t: 1 of 24 values differ"),
        ((convert_one, die), "DIFFERENT", "the reader killed: SIGSEGV"),
    ],
)
def test_what_must_not_happen_is_told(folder: Path, steps: Steps, what: str, cause: str) -> None:
    """In a process of its own; such an outcome is not accepted."""
    (found,) = outcomes([folder / "a.nc"], timeout_s=2 if sleep in steps else 60, steps=steps)
    assert (found.what, found.accepted) == (what, False)
    assert cause in found.cause


def refuse(source: Path, target: Path) -> None:
    raise BadData("of a filter that is not installed")


def test_what_the_reader_refuses_is_unjudged(folder: Path) -> None:
    """Other libraries read less: that says nothing against the conversion."""
    (found,) = outcomes([folder / "a.nc"], steps=(convert_one, refuse))
    assert (found.what, found.accepted) == ("unjudged", True)
    assert found.cause == "the reader refused: of a filter that is not installed"


@pytest.mark.parametrize("kind", ["netcdf", "grib"])
def test_the_judge_sees_one_wrong_value(tmp_path: Path, kind: str) -> None:
    """A store of other data is not equal."""
    if kind == "grib":
        good, other = cube(), cube()
        other[3] = cube(levels=[700, 500])[2]
        paths = [
            write_grib(tmp_path / "good.grib", good),
            write_grib(tmp_path / "other.grib", cube(["t"]) + cube(["u"])),
        ]
    else:
        changed = FIELD.copy()
        changed[2, 1, 0] += 1
        paths = [
            write_netcdf(tmp_path / f"{name}.nc", {"t": field})
            for name, field in (("good", FIELD), ("other", changed))
        ]
    convert_one(paths[1], tmp_path / "s.zarr")
    assert not judge(paths[1], tmp_path / "s.zarr").differences
    assert judge(paths[0], tmp_path / "s.zarr").differences


def test_a_cause_is_the_same_for_files_that_fail_alike() -> None:
    """Without path, names and numbers."""
    lines = [
        "/a/b.nc: variable 't' ends at byte 21344, the file has 12820",
        "/c: variable 'u' ends at byte 3, the file has 1",
    ]
    assert len({kind_of(line) for line in lines}) == 1


@pytest.mark.slow
def test_a_sample_of_real_files(shared_data: Path) -> None:
    """Every eighth; `python -m maelio.benchmarks.outcomes ../shared/data` goes through all of them."""
    found = list(outcomes(found_below(shared_data)[::8], timeout_s=300))
    assert all(outcome.accepted for outcome in found), summary(found)
    assert sum(outcome.what == "equal" for outcome in found) > 25

"""One store takes the place of another: killed at any point, one of the two stands there after the next call."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.converters.replace import exchange
from maelio.errors import BadRequest
from maelio.store import open_store, unfinished
from tests.converters.netcdf_files import write_netcdf
from tests.converters.test_resume import contents

OVERWRITE = Options(overwrite=True)

# Kills itself at the first step on the file system that is `event` and names `what`, before it is taken.
KILLED = """
import os, signal, sys
from maelio.converters import replace
from maelio.converters.convert import convert
from maelio.converters.options import Options

source, target, event, what, exchange = sys.argv[1:]
if exchange == "no":
    replace.exchange = lambda one, other: False

def die(name, arguments):
    if name == event and str(arguments[0]).endswith(what):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
convert([source], target, Options(overwrite=True))
"""

STEPS = {
    "before anything": ("open", "s.zarr.part/zarr.json.part", "yes"),
    "after the exchange": ("os.rename", "s.zarr.part", "yes"),
    "while the old one is removed": ("shutil.rmtree", ".old-PID", "yes"),
    "before the first of two renames": ("os.rename", "s.zarr", "no"),
    "between the two renames": ("os.rename", "s.zarr.part", "no"),
    "after the two renames": ("shutil.rmtree", ".old-PID", "no"),
    "with the journal left": ("os.remove", "journal.jsonl", "yes"),
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_netcdf(
        tmp_path / "old.nc", {"t": xr.DataArray(range(8)).values.reshape(8, 1, 1).astype("f4")}
    )


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return write_netcdf(
        tmp_path / "new.nc", {"t": xr.DataArray(range(6)).values.reshape(6, 1, 1).astype("f4")}
    )


def killed(source: Path, target: Path, step: str) -> None:
    event, what, swaps = STEPS[step]
    code = KILLED.replace("endswith(what)", 'endswith(what.replace("PID", str(os.getpid())))')
    run = subprocess.run([sys.executable, "-c", code, source, target, event, what, swaps], check=False)
    assert run.returncode == -9


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_replacement_leaves_a_store_and_nothing_else(
    tmp_path: Path, old: Path, new: Path, step: str
) -> None:
    """Whatever is called next: the same again, without --overwrite, or for another source."""
    folder = tmp_path / "killed"
    folder.mkdir()
    convert([old], folder / "s.zarr")
    killed(new, folder / "s.zarr", step)
    if "between" not in step:
        assert open_store(folder / "s.zarr").samples in (8, 6)  # no reader ever misses it
    for source in (old, new):
        target = shutil.copytree(folder, tmp_path / source.stem) / "s.zarr"
        if source == new:
            with pytest.raises(BadRequest, match="exists; --overwrite"):
                convert([new], target)
            assert open_store(target).samples in (8, 6)
        convert([source], target, OVERWRITE)
        assert os.listdir(target.parent) == ["s.zarr"]
        assert contents(target) == contents(convert([source], tmp_path / f"{source.stem}.zarr").path)


def test_the_old_store_stands_again_where_there_was_none(
    tmp_path: Path, old: Path, new: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an exchange there is a moment without a store; whoever comes next puts it back and says so."""
    target = tmp_path / "s.zarr"
    before = contents(convert([old], target).path)
    killed(new, target, "between the two renames")
    assert not target.exists()
    with pytest.raises(BadRequest, match="exists; --overwrite"):
        convert([new], target)
    assert contents(target) == before
    assert "s.zarr stands again" in caplog.text


def test_folders_with_like_names_are_not_touched(tmp_path: Path, old: Path, new: Path) -> None:
    """What a journal does not name belongs to somebody else."""
    target = tmp_path / "s.zarr"
    convert([old], target)
    backup = tmp_path / "s.zarr.old-2019"
    backup.mkdir()
    (backup / "zarr.json").write_bytes(b"precious")
    killed(new, target, "after the exchange")
    convert([new], target, OVERWRITE)
    assert contents(backup) == {"zarr.json": b"precious"}


def test_two_names_are_exchanged_in_one_step(tmp_path: Path) -> None:
    """The kernel and the file system that the tests run on can; names that are not there are an error."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / folder.name).touch()
    assert exchange(one, other) == sys.platform.startswith("linux")
    if sys.platform.startswith("linux"):
        assert os.listdir(one) == ["other"]
        with pytest.raises(FileNotFoundError, match="missing"):
            exchange(tmp_path / "missing", other)


def test_a_later_conversion_is_not_taken_for_the_old_store(tmp_path: Path, old: Path, new: Path) -> None:
    """Where a journal is left at the target, the folder of the next conversion stays its own."""
    target = tmp_path / "s.zarr"
    convert([old], target)
    killed(new, target, "with the journal left")
    assert (target / "journal.jsonl").exists()
    unfinished(target).mkdir()
    (unfinished(target) / "precious").touch()
    with pytest.raises(BadRequest, match="in the way"):
        convert([old], target, OVERWRITE)
    assert (unfinished(target) / "precious").exists()
    assert not (target / "journal.jsonl").exists()

"""Each bad input ends in one clear line with the right exit code, and nothing that opens."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import netCDF4
import numpy as np
import pytest
from numpy.typing import NDArray

from maelio.benchmarks.damage import damaged
from maelio.converters.convert import DEFAULTS, convert, plan_conversion
from maelio.converters.formats import describe
from maelio.converters.options import Options
from maelio.errors import MaelioError, NotPermitted
from tests.converters.netcdf_files import Kind, damage, write_netcdf

FIELD = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)


def refused(sources: list[Path], target: Path, options: Options = DEFAULTS) -> tuple[str, int]:
    with pytest.raises(MaelioError) as caught:
        convert(sources, target, options)
    message = str(caught.value)
    assert "\n" not in message
    return message, caught.value.exit_code


def truncate(path: Path, part: float) -> None:
    os.truncate(path, int(path.stat().st_size * part))


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


NOT_NETCDF: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "missing": (lambda path: None, "no such file", 3),
    "folder": (lambda path: path.mkdir(), "is a directory", 6),
    "empty": (lambda path: path.touch(), "is empty", 6),
    "git-lfs": (write(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git-lfs pointer", 6),
    "web page": (write(b"\n<!DOCTYPE html><html>404</html>"), "web page", 6),
    "gzip": (write(gzip.compress(b"CDF\x01")), "gzip", 6),
    "grib": (write(b"GRIB" + bytes(100)), "GRIB", 6),
    "noise": (write(b"\x01\x02\x03"), "unknown format", 6),
    "classic header cut": (write(b"CDF\x01\x00\x00"), "cannot be opened as NetCDF|damaged or cut short", 6),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_NETCDF)
def test_what_is_not_netcdf_is_named(tmp_path: Path, name: str) -> None:
    """The message says what the file is instead."""
    make, wanted, code = NOT_NETCDF[name]
    source = tmp_path / "source.nc"
    make(source)
    message, exit_code = refused([source], tmp_path / "s.zarr")
    assert any(word in message for word in wanted.split("|"))
    assert str(source) in message
    assert exit_code == code
    assert not list(tmp_path.glob("s.zarr*"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The kernel refuses the first byte of a process's memory, also to root."""
    message, code = refused([Path("/proc/self/mem")], tmp_path / "s.zarr")
    assert "/proc/self/mem: cannot be read: " in message
    assert code == 4


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.999])
def test_a_file_cut_short_is_refused(tmp_path: Path, kind: Kind, part: float) -> None:
    """Also the classic formats, which the NetCDF library reads as zeros."""
    source = write_netcdf(tmp_path / "a.nc", {"t": np.ones((50, 6, 8), np.float32)}, kind=kind)
    convert([source], tmp_path / "whole.zarr")
    truncate(source, part)
    message, code = refused([source], tmp_path / "s.zarr")
    assert str(source) in message
    assert code == 6


def test_a_real_classic_file_cut_at_60_per_cent_is_refused(shared_data: Path, tmp_path: Path) -> None:
    """853 of its 1200 temperatures would read as 0 K."""
    message, code = refused([shared_data / "derived/truncated_nc3_60pct.nc"], tmp_path / "s.zarr")
    assert "'tas' ends at byte 21344, the file has 12820" in message
    assert code == 6


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_a_damaged_header_is_one_line_or_another_header(tmp_path: Path, kind: Kind) -> None:
    """The libraries tell damage by many kinds of errors; none of them gets through."""
    whole = write_netcdf(tmp_path / "a.nc", {"t": FIELD, "u": FIELD}, kind=kind).read_bytes()
    lines = 0
    for seed in range(60):
        path = tmp_path / f"{seed}.nc"
        path.write_bytes(damaged(whole, f"{seed}"))
        try:
            describe(path)
        except MaelioError as error:
            lines += str(error).count("\n") == 0
            continue
        lines += 1
    assert lines == 60


def test_damaged_values_name_the_file_and_the_variable(tmp_path: Path) -> None:
    """A chunk that does not decompress stops the conversion; nothing opens."""
    noise = np.random.default_rng(0).random((8, 20, 20)).astype(np.float32)
    source = write_netcdf(tmp_path / "a.nc", {"t": noise}, zlib=True)
    damage(source, "t")
    message, code = refused([source], tmp_path / "s.zarr")
    assert str(source) in message
    assert "'t'" in message
    assert code == 6
    assert not (tmp_path / "s.zarr").exists()


def test_times_that_count_from_no_date_are_told_as_numbers(tmp_path: Path) -> None:
    """A byte of a file's units is another; other files are counted as the first one."""
    units = "hours since 2@00-01-01"
    source = write_netcdf(tmp_path / "a.nc", {"t": FIELD}, times=[0, 1, 1, 2], units=units)
    message, _ = refused([source], tmp_path / "s.zarr")
    assert "time 1 occurs twice" in message
    other = write_netcdf(tmp_path / "b.nc", {"t": FIELD}, first=4)
    message, _ = refused([other, source], tmp_path / "s.zarr")
    assert f"{source}: variable 'time'" in message
    assert units in message


def test_a_damaged_variable_that_describes_another_is_named(tmp_path: Path) -> None:
    """Small ones are read when a file is described, which goes on without."""
    source = write_netcdf(tmp_path / "a.nc", {"t": FIELD})
    with netCDF4.Dataset(source, "a") as file:
        area = file.createVariable("area", "f8", ("latitude", "longitude"), zlib=True)
        area[:] = np.random.default_rng(0).random(area.shape)
        file["t"].cell_measures = "area: area"
    damage(source, "area")
    message, code = refused([source], tmp_path / "s.zarr")
    assert f"{source}: variable 'area' cannot be read" in message
    assert code == 6
    assert {"t", "area"} <= describe(source).variables.keys()


REQUESTS: dict[str, tuple[Options, str]] = {
    "unknown variable": (Options(variables=("tas",)), "no variable 'tas'; there are t"),
    "coordinate wanted": (Options(variables=("latitude",)), "'latitude' is not numeric data along 'time'"),
    "unknown dimension": (Options(samples="step"), "no dimension 'step'; there are time, "),
    "too little memory": (Options(memory=100), "the limit is 100 B"),
    "no threads": (Options(threads=0), "threads=0"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_does_not_fit_is_explained(tmp_path: Path, name: str) -> None:
    """What was found and what there is; exit code 2; nothing is written."""
    options, wanted = REQUESTS[name]
    source = write_netcdf(tmp_path / "a.nc", {"t": FIELD})
    message, code = refused([source], tmp_path / "s.zarr", options)
    assert wanted in message
    assert code == 2
    assert not list(tmp_path.glob("s.zarr*"))


def test_an_existing_target_is_kept(tmp_path: Path) -> None:
    """A store, a file or a folder of somebody else's is never written into."""
    source = write_netcdf(tmp_path / "a.nc", {"t": FIELD})
    for make in (Path.touch, Path.mkdir):
        target = tmp_path / make.__name__
        make(target)
        message, code = refused([source], target)
        assert "exists; --overwrite" in message
        assert code == 2
    foreign = tmp_path / "s.zarr.part"
    foreign.mkdir()
    (foreign / "diary.txt").write_text("mine")
    message, code = refused([source], tmp_path / "s.zarr")
    assert "s.zarr.part" in message
    assert code == 2
    assert (foreign / "diary.txt").read_text() == "mine"


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The kernel's own file system says no, also to root."""
    source = write_netcdf(tmp_path / "a.nc", {"t": FIELD})
    with pytest.raises(NotPermitted, match=r"/sys/s\.zarr cannot be written: ") as caught:
        convert([source], Path("/sys/s.zarr"))
    assert caught.value.exit_code == 4


def test_a_target_whose_folder_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Not the kernel's words alone."""
    source = write_netcdf(tmp_path / "a.nc", {"t": FIELD})
    message, code = refused([source], Path("/proc/deeper/s.zarr"))
    assert "/proc/deeper/s.zarr cannot be written: " in message
    assert code == 1


TWO_FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "duplicate time": (
        lambda p: write_netcdf(p, {"t": FIELD}, first=3),
        "time 3 (2000-01-01T03:00:00) occurs twice",
    ),
    "overlap": (lambda p: write_netcdf(p, {"t": FIELD}, first=1.5), "comes after a later one"),
    "gap": (lambda p: write_netcdf(p, {"t": FIELD}, first=9), "a gap of 6 before time 9"),
    "other grid": (lambda p: write_netcdf(p, {"t": FIELD[:, :1]}, first=4), "wanted (2, 3)"),
    "flipped latitude": (
        lambda p: write_netcdf(p, {"t": FIELD}, first=4, latitudes=[30, 60]),
        "variable 'latitude' runs the other way",
    ),
    "missing variable": (lambda p: write_netcdf(p, {"other": FIELD}, first=4), "variable 't' is missing"),
    "other dtype": (lambda p: write_netcdf(p, {"t": FIELD.astype("f8")}, first=4), "dtype float64"),
    "other unit": (
        lambda p: write_netcdf(p, {"t": FIELD}, first=4, attributes={"t": {"units": "degC"}}),
        "units degC, wanted K",
    ),
    "other calendar": (
        lambda p: write_netcdf(p, {"t": FIELD}, first=4, calendar="noleap"),
        "calendar 'noleap', wanted '360_day'",
    ),
    "other time step": (
        lambda p: write_netcdf(p, {"t": FIELD}, first=4, units="days since 2000-01-01"),
        "units 'days since 2000-01-01', wanted 'hours since 2000-01-01' or another epoch",
    ),
}


@pytest.mark.parametrize("name", TWO_FILES)
def test_files_that_do_not_make_one_dataset_are_refused(tmp_path: Path, name: str) -> None:
    """The second file is named, with what was found and what was wanted; never a silent NaN or a wrong order."""
    make, wanted = TWO_FILES[name]
    first = write_netcdf(tmp_path / "first.nc", {"t": FIELD})
    second = make(tmp_path / "second.nc")
    message, code = refused([first, second], tmp_path / "s.zarr")
    assert wanted in message
    assert str(second) in message
    assert code == 6
    assert not list(tmp_path.glob("s.zarr*"))


def test_a_gap_can_be_allowed(tmp_path: Path) -> None:
    """The policy is a flag, not a guess."""
    files = [write_netcdf(tmp_path / f"{n}.nc", {"t": FIELD}, first=9 * n) for n in (0, 1)]
    assert plan_conversion(files, tmp_path / "s.zarr", Options(on={"gap": "allow"})).samples.count == 8


def test_a_source_that_changes_meanwhile_is_not_published(tmp_path: Path, field: NDArray[np.float32]) -> None:
    """A file rewritten under our hands would be a mix of two."""
    source = write_netcdf(tmp_path / "a.nc", {"t": field})
    other = write_netcdf(tmp_path / "b.nc", {"t": field + 1})

    def replace(_: object) -> None:
        shutil.copy(other, source)

    with pytest.raises(MaelioError, match=r"a\.nc changed while it was converted"):
        convert([source], tmp_path / "s.zarr", Options(shard_bytes=1), progress=replace)
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize(
    ("value", "policy", "taken"),
    [
        (np.inf, None, False),
        (-np.inf, None, False),
        (np.inf, "refuse", False),
        (np.inf, "allow", True),
        (np.nan, None, True),
        (np.nan, "refuse", False),
        (np.nan, "allow", True),
    ],
)
def test_values_that_are_not_finite_are_taken_by_policy(
    tmp_path: Path, value: float, policy: Literal["refuse", "allow"] | None, taken: bool
) -> None:
    """NaN means missing; an infinite value is a fault until somebody says it is none."""
    field = FIELD.copy()
    field[2, 1, 0] = value
    good = write_netcdf(tmp_path / "a.nc", {"t": FIELD, "u": FIELD})
    bad = write_netcdf(tmp_path / "b.nc", {"t": FIELD, "u": field}, first=4)
    options = Options(on={"non-finite": policy} if policy else {})
    if taken:
        convert([good, bad], tmp_path / "s.zarr", options)
    else:
        message, code = refused([good, bad], tmp_path / "s.zarr", options)
        assert f"b.nc: variable 'u' is {value} at time 2, wanted a finite value" in message
        assert code == 6

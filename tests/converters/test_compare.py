"""Equal is equal, and every difference has its line."""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any, Literal

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.cli import main
from maelio.converters import compare as module
from maelio.converters.compare import Difference, blocks, compare, distances, unequal
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadData, BadRequest, Inconsistent, NotFound
from tests.converters.netcdf_files import damage, write_netcdf


@given(
    shape=st.lists(st.integers(0, 9), max_size=4),
    chunk=st.lists(st.integers(1, 12), min_size=4, max_size=4),
    most=st.integers(1, 300),
)
def test_blocks_hold_every_value_once_and_few_at_a_time(
    shape: list[int], chunk: list[int], most: int
) -> None:
    """Whatever the chunks: their boxes cover the array, and none is larger than allowed."""
    seen = np.zeros(shape, int)
    for block in blocks(shape, chunk[: len(shape)], most):
        assert prod(map(len, block)) <= most
        seen[tuple(slice(rows.start, rows.stop) for rows in block)] += 1
    assert (seen == 1).all()


def test_blocks_are_whole_chunks_where_those_fit() -> None:
    """A chunk is then decompressed once: along each axis boxes start where chunks do."""
    starts = {tuple(rows.start for rows in block) for block in blocks((10, 9, 8), (4, 3, 8), 200)}
    assert starts == {(row, column, 0) for row in (0, 4, 8) for column in (0, 6)}


@given(one=st.integers(-(2**63), 2**63 - 1), other=st.integers(-(2**63), 2**63 - 1))
def test_integers_lie_as_far_apart_as_they_do(one: int, other: int) -> None:
    """No overflow, and neighbours beyond 2**53 are told apart."""
    found, wanted = np.array([one]), np.array([other])
    assert unequal(found, wanted)[0] == (one != other)
    assert distances(found, wanted)[0] == float(abs(one - other))


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_a_store_equals_its_source(netcdf: Path, tmp_path: Path, codec: Any) -> None:
    """Either way round."""
    store = convert([netcdf], tmp_path / "s.zarr", Options(codec=codec, shard_bytes=600)).path
    assert compare(netcdf, store) == []
    assert compare(store, netcdf) == []


def test_files_are_compared_as_the_one_dataset_that_they_make(
    tmp_path: Path, field: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order, with blocks that span files, against a store or one file."""
    monkeypatch.setattr(module, "BLOCK_VALUES", 100)
    files = [
        write_netcdf(tmp_path / f"{number}.nc", {"t": field[first : first + 8]}, first=first)
        for number, first in enumerate((8, 0, 16))
    ]
    whole = write_netcdf(tmp_path / "whole.nc", {"t": field})
    store = convert(files, tmp_path / "s.zarr", Options(shard_bytes=500)).path
    assert compare(files, store) == []
    assert compare(whole, files) == []
    changed = field.copy()
    changed[15, 3, 2] += 0.5
    other = write_netcdf(tmp_path / "other.nc", {"t": changed})
    (found,) = compare(files, other)
    assert (found.variable, found.count, found.values, found.largest) == ("t", 1, field.size, 0.5)
    assert found.where == "time=2000-01-01 15:00:00, latitude=37.5, longitude=6.6666665"


CHANGES: dict[str, tuple[Callable[[netCDF4.Dataset], object], str]] = {
    "value": (
        lambda file: file["t2m"].__setitem__((3, 1, 2), 400),
        (
            "t2m: 1 of 840 values differ, by 87.6 at most; at time=2000-01-01 03:00:00, latitude=52.5, "
            "longitude=6.6666665 found 400.0, wanted 312.4"
        ),
    ),
    "NaN": (
        lambda file: file["t2m"].__setitem__((3, 1, 2), np.nan),
        (
            "t2m: 1 of 840 values differ; at time=2000-01-01 03:00:00, latitude=52.5, longitude=6.6666665 "
            "found nan, wanted 312.4"
        ),
    ),
    "coordinate": (
        lambda file: file["latitude"].__setitem__(0, 61),
        "latitude: 1 of 5 values differ, by 1 at most; at latitude=60.0 found 61.0, wanted 60.0",
    ),
    "unit": (
        lambda file: file["t2m"].setncattr("units", "degC"),
        "t2m: attribute 'units': found 'degC', wanted 'K'",
    ),
    "new attribute": (
        lambda file: file["t2m"].setncattr("note", 1),
        "t2m: attribute 'note': found 1, wanted nothing",
    ),
    "dataset attribute": (
        lambda file: file.delncattr("Conventions"),
        "dataset: attribute 'Conventions': found nothing, wanted 'CF-1.11'",
    ),
    "calendar": (
        lambda file: file["time"].setncattr("calendar", "noleap"),
        "time: calendar: found noleap, wanted 360_day",
    ),
    "time": (
        lambda file: file["time"].__setitem__(1, 1.25),
        (
            "time: 1 of 24 values differ; at time=2000-01-01 01:00:00 found 2000-01-01 01:15:00, "
            "wanted 2000-01-01 01:00:00"
        ),
    ),
    "name": (lambda file: file.renameVariable("t2m", "tas"), "t2m: variable: found missing, wanted present"),
    "dimension": (
        lambda file: file.renameDimension("bnds", "nv"),
        "time_bnds: dimensions: found (time: 24, nv: 2), wanted (time: 24, bnds: 2)",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_difference_has_a_line(netcdf: Path, tmp_path: Path, field: NDArray[Any], change: str) -> None:
    """It names the variable, the place, what was found and what was wanted."""
    act, line = CHANGES[change]
    other = write_netcdf(tmp_path / "other.nc", {"t2m": field}, zlib=True)
    with netCDF4.Dataset(other, "a") as file:
        act(file)
    store = convert([other], tmp_path / "s.zarr").path
    for found in (other, store):
        lines = [str(difference) for difference in compare(netcdf, found)]
        assert line in lines
        assert not [text for text in lines if "values differ" in text and "values differ" not in line]


def test_what_is_missing_in_one_counts_before_what_is_far_off(
    tmp_path: Path, field: NDArray[np.float32]
) -> None:
    """The place shown is of the missing value; the distance is that of the numbers."""
    changed = field.copy()
    changed[0, 0, 0], changed[5, 1, 1], changed[6, 1, 1] = 9999, np.nan, field[6, 1, 1] + 1
    files = [
        write_netcdf(tmp_path / f"{name}.nc", {"t": data}) for name, data in (("a", field), ("b", changed))
    ]
    (found,) = compare(*files)
    assert (found.count, found.found) == (3, "nan")
    assert found.largest == pytest.approx(9999 - field[0, 0, 0])


def test_a_tolerance_is_in_the_variables_unit(tmp_path: Path, field: NDArray[np.float32]) -> None:
    """What is within it is equal, also in another dtype; what is missing on one side never is."""
    files = [
        write_netcdf(tmp_path / "a.nc", {"t": field}),
        write_netcdf(tmp_path / "b.nc", {"t": field.astype("f8") + 0.25}),
    ]
    assert [found.what for found in compare(*files)] == ["dtype", "values"]
    assert compare(*files, within={"t": 0.25}) == []
    (found,) = compare(*files, within={"t": 0.2499})
    assert (found.count, found.largest) == (field.size, 0.25)


def test_bad_requests_and_bad_data_are_told(tmp_path: Path, netcdf: Path, field: NDArray[np.float32]) -> None:
    """One line each, naming the file."""
    with pytest.raises(BadRequest, match=r"no variable 'tas' to compare within 1; there are .*t2m"):
        compare(netcdf, netcdf, within={"tas": 1})
    with pytest.raises(BadRequest, match="wanted a number from 0 on"):
        compare(netcdf, netcdf, within={"t2m": float("nan")})
    with pytest.raises(NotFound, match="no such file"):
        compare(netcdf, tmp_path / "none.nc")
    with pytest.raises(BadData, match="is a directory, no Zarr group"):
        compare(netcdf, tmp_path)
    bad = write_netcdf(tmp_path / "bad.nc", {"t2m": field}, zlib=True)
    damage(bad, "t2m")
    with pytest.raises(BadData, match=r"bad\.nc: variable 't2m' cannot be read"):
        compare(netcdf, bad)
    other = write_netcdf(tmp_path / "other.nc", {"u": field}, first=24)
    with pytest.raises(Inconsistent, match="is not in all of the files"):
        compare([netcdf, other], netcdf)
    calendar = write_netcdf(tmp_path / "calendar.nc", {"t2m": field}, first=24, calendar="noleap")
    with pytest.raises(Inconsistent, match="calendar"):
        compare([netcdf, calendar], netcdf)


def test_text_and_plain_numbers_are_compared_too(tmp_path: Path) -> None:
    """Names of stations, and dimensions that have no coordinate."""
    stations = xr.Dataset({"t": (("x", "y"), np.eye(3)), "name": ("x", ["Bern", "Oslo", "Rome"])})
    stations.to_netcdf(tmp_path / "a.nc")
    stations["name"][1] = "Ulm"
    stations["t"][2, 0] = 7
    stations.to_netcdf(tmp_path / "b.nc")
    assert [str(found) for found in compare(tmp_path / "a.nc", tmp_path / "b.nc")] == [
        "t: 1 of 9 values differ, by 7 at most; at x=2, y=0 found 7.0, wanted 0.0",
        "name: 1 of 3 values differ; at x=1 found Ulm, wanted Oslo",
    ]
    store = convert([tmp_path / "a.nc"], tmp_path / "s.zarr", Options(samples="x")).path
    assert compare(tmp_path / "a.nc", store) == []


@pytest.mark.parametrize("version", [2, 3])
def test_plain_zarr_is_compared_too(tmp_path: Path, version: Literal[2, 3]) -> None:
    """As a source, and as somebody else's output."""
    plain = xr.Dataset({"t": (("x", "y"), np.eye(3))})
    plain.to_zarr(tmp_path / "plain.zarr", zarr_format=version, consolidated=False)
    store = convert([tmp_path / "plain.zarr"], tmp_path / "s.zarr", Options(samples="x")).path
    assert compare(tmp_path / "plain.zarr", store) == []
    (plain + 1).to_zarr(tmp_path / "more.zarr", zarr_format=version, consolidated=False)
    (found,) = compare(tmp_path / "more.zarr", store)
    assert (found.count, found.largest) == (9, 1.0)


def test_the_command_says_equal_with_0_and_different_with_6(
    netcdf: Path, tmp_path: Path, field: NDArray[np.float32], capsys: pytest.CaptureFixture[str]
) -> None:
    """Several files come before the last argument; a quoted pattern is a list too."""
    assert main(["compare", str(netcdf), str(netcdf)]) == 0
    halves = [
        str(write_netcdf(tmp_path / f"half{first}.nc", {"t2m": field[first : first + 12] + 1}, first=first))
        for first in (0, 12)
    ]
    assert main(["compare", *halves, str(netcdf), "--within", "t2m=1.001"]) == 0
    capsys.readouterr()
    assert main(["compare", str(netcdf), str(tmp_path / "half*.nc"), "--json"]) == 6
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert document["equal"] is False
    assert document["found"] == halves
    (found,) = [Difference(**entry) for entry in document["differences"]]
    assert (found.variable, found.count) == ("t2m", field.size)
    assert found.largest == pytest.approx(1, abs=1e-4)
    assert output.err.startswith("t2m: 840 of 840 values differ, by 1.0000")
    assert main(["compare", str(netcdf), str(netcdf), "--within", "t2m"]) == 2
    assert main(["compare", str(netcdf), str(netcdf), "--within", "t2m=warm"]) == 2

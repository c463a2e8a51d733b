"""A conversion of a part is the part of the dataset that xarray selects, and reads little else."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.converters.compare import compare
from maelio.converters.convert import convert, plan_conversion
from maelio.converters.options import Options
from maelio.converters.storage import Part
from maelio.converters.subset import as_range, as_slice, runs
from maelio.converters.times import Joined, Run
from maelio.errors import BadRequest, Inconsistent
from tests.converters.netcdf_files import damage, write_netcdf

LEVELS = [850, 700, 500, 250, 100]
STORAGES: list[dict[str, Any]] = [
    {},
    {"contiguous": True},
    {"chunksizes": (3, 2, 4, 3)},
    {"zlib": True, "shuffle": True, "chunksizes": (2, 5, 2, 2)},
    {"compression": "zstd", "chunksizes": (4, 2, 3, 3)},
]


def write(path: Path, first: int, steps: int, calendar: str, storage: dict[str, Any]) -> Path:
    """t(time, level, latitude, x) and sp(time, latitude), 6-hourly; x has no coordinate, latitude goes down."""
    random = np.random.default_rng(first)
    times = xr.date_range("2000-02-27", periods=40, freq="6h", calendar=calendar, use_cftime=True)
    dataset = xr.Dataset(
        {
            "t": (("time", "level", "latitude", "x"), random.random((steps, 5, 4, 3)).astype("f4")),
            "sp": (("time", "latitude"), random.random((steps, 4))),
            "mask": (("latitude", "x"), np.arange(12).reshape(4, 3)),
        },
        coords={
            "time": times[first : first + steps],
            "level": np.array(LEVELS, "i4"),
            "latitude": np.array([60, 45.5, 0.1, -30], "f4"),
        },
    )
    dataset.time.encoding["units"] = "hours since 2000-01-01"
    dataset.to_netcdf(path, encoding={"t": storage})
    return path


def opened(files: list[Path]) -> xr.Dataset:
    return xr.concat(
        [xr.load_dataset(file) for file in files],
        "time",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="override",
    )


TIMES: list[tuple[str, Any]] = [
    ("2000-02-28:2000-03-01", slice("2000-02-28", "2000-03-01")),
    ("2000-02-28T06:00:2000-02-28T18:00", slice("2000-02-28T06:00", "2000-02-28T18:00")),
    ("2000-02-28T06:", slice("2000-02-28T06", None)),
    (":2000-02-28", slice(None, "2000-02-28")),
    ("2000-02", "2000-02"),
    ("2000-02-27:2000-03-01:2", slice("2000-02-27", "2000-03-01", 2)),
    ("::3", slice(None, None, 3)),
    (":", slice(None)),
]
OTHERS: dict[str, list[tuple[str, Any]]] = {
    "level": [
        ("850,500,250", [850, 500, 250]),
        ("250,850", [250, 850]),
        ("700:250", slice(700, 250)),
        ("500", [500]),
        ("850:100:2", slice(850, 100, 2)),
        ("250:100,850:700", [250, 100, 850, 700]),
        ("500,850:700", [500, 850, 700]),
    ],
    "latitude": [
        ("50:0", slice(50, 0)),
        ("0.1,60", [0.1, 60]),
        ("-30", [-30]),
        ("45.5:", slice(45.5, None)),
    ],
    "x": [
        ("1:3", slice(1, 3)),
        ("2,0", [2, 0]),
        ("0:-1", slice(0, -1)),
        ("0:3:2", slice(0, 3, 2)),
        ("::2", slice(None, None, 2)),
    ],
}


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_converted_part_is_what_xarray_selects(data: st.DataObject) -> None:
    """Any dimensions, storage, calendar, files and shards; coordinates and what has no samples are cut too."""
    calendar = data.draw(st.sampled_from(["standard", "noleap", "360_day"]), label="calendar")
    made = data.draw(st.sampled_from(STORAGES), label="storage")
    lengths = data.draw(st.lists(st.integers(4, 9), min_size=1, max_size=3), label="steps of each file")
    select, wanted = {}, {}
    for dimension, choices in {"time": TIMES, **OTHERS}.items():
        if choice := data.draw(st.none() | st.sampled_from(choices), label=dimension):
            select[dimension], wanted[dimension] = choice
    samples = ["time", "level", "x"] if len(lengths) == 1 else ["time"]
    options = Options(
        select=select,
        shard_bytes=data.draw(st.integers(1, 3000), label="shard bytes"),
        samples=data.draw(st.sampled_from(samples), label="samples"),
        on={"gap": "allow"},
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = [
            write(folder / f"{number}.nc", sum(lengths[:number]), length, calendar, made)
            for number, length in enumerate(lengths)
        ]
        try:
            expected = opened(files).sel(wanted)
        except KeyError:  # xarray looks up a lone text in another way
            expected = opened(files).isel(time=[])
        if not expected.sizes["time"]:
            with pytest.raises(BadRequest, match=r"not found; 'time' runs from 2000-02-27[T ]00:00:00 to 2"):
                convert(files, folder / "s.zarr", options)
            return
        store = convert(files, folder / "s.zarr", options)
        with xr.open_dataset(store.path, engine="maelio") as found:
            xr.testing.assert_identical(found.load(), expected)
        assert store.contents.options["select"] == select


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), data=st.data())
def test_rows_that_are_taken_stay_those_rows(lengths: list[int], data: st.DataObject) -> None:
    """Any positions in any order: each still is the row of the file that it was."""
    whole = Joined("time", tuple(Run(file, range(length)) for file, length in enumerate(lengths)))
    rows = [(file, row) for file, length in enumerate(lengths) for row in range(length)]
    positions = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20))
    taken = whole.take(runs(np.array(positions, np.int64)))
    assert [(run.file, row) for run in taken.runs for row in run.rows] == [rows[at] for at in positions]
    again = data.draw(st.lists(st.integers(0, len(positions) - 1), max_size=20)) if positions else []
    twice = taken.take(runs(np.array(again, np.int64)))
    assert [(run.file, row) for run in twice.runs for row in run.rows] == [
        rows[positions[at]] for at in again
    ]


@given(positions=st.lists(st.integers(0, 9), min_size=1, max_size=12), data=st.data())
def test_a_part_has_its_indexes_in_order(positions: list[int], data: st.DataObject) -> None:
    """Ranges and indexes say the same; so does a part of the part."""
    made = Part(10, runs(np.array(positions, np.int64)))
    assert made.indexes().tolist() == positions
    assert len(made) == len(positions)
    assert (made.span.start, made.span.stop) == (min(positions), max(positions) + 1)
    first, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(positions))] * 2)))
    if first < stop:
        assert made.take(range(first, stop)).indexes().tolist() == positions[first:stop]


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("2000:2010", ("2000", "2010")),
        ("2000-01-01T06:00", None),
        ("2000-01-01T06:00:30", None),
        ("2000-01-01T06:00:2000-01-02", ("2000-01-01T06:00", "2000-01-02")),
        ("2000-01-01 06:30:15:", ("2000-01-01 06:30:15", "")),
        ("-10:1e1", ("-10", "1e1")),
        (":", ("", "")),
        ("850,500", None),
        ("a:b", None),
    ],
)
def test_colons_of_a_time_are_no_range(text: str, sides: tuple[str, str] | None) -> None:
    assert as_range(text) == sides


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("0:100:4", ("0", "100", 4)),
        ("::2", ("", "", 2)),
        ("60:30: 2", ("60", "30", 2)),
        ("2000:2010:10", ("2000", "2010", 10)),
        ("2000-01-01T06:2000-01-01T18:2", ("2000-01-01T06", "2000-01-01T18", 2)),
        ("2000-01-01T06:2000-01-01T18:30", ("2000-01-01T06", "2000-01-01T18:30", None)),
        ("2000-01-01T06:30:2000-01-02:5", ("2000-01-01T06:30", "2000-01-02", 5)),
        ("2000-01-01T06:30:2", None),
        ("0:10:0", None),
        ("0:10:-1", None),
        ("a:b:2", None),
    ],
)
def test_a_step_comes_behind_a_range(text: str, sides: tuple[str, str, int | None] | None) -> None:
    """It counts indexes, not hours."""
    assert as_slice(text) == sides


def test_several_ranges_of_times_follow_each_other(tmp_path: Path) -> None:
    """Seasons of years: what lies between them is a gap that must be wanted."""
    source = write(tmp_path / "a.nc", 0, 20, "standard", {})
    select = {"time": "2000-02-27:2000-02-28,2000-03-01:2000-03-02:2"}
    store = convert([source], tmp_path / "s.zarr", Options(select=select, on={"gap": "allow"}))
    with xr.open_dataset(source) as whole, xr.open_dataset(store.path, engine="maelio") as found:
        parts = [slice("2000-02-27", "2000-02-28"), slice("2000-03-01", "2000-03-02", 2)]
        wanted = xr.concat([whole.sel(time=each) for each in parts], "time", data_vars="minimal")
        xr.testing.assert_identical(found.load(), wanted)


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_a_coarse_grid_is_every_manieth_of_each_axis(tmp_path: Path, storage: dict[str, Any]) -> None:
    """Many cuts of a chunk are made at once."""
    field = np.random.default_rng(0).random((3, 60, 90)).astype("f4")
    encoding = {**storage, "chunksizes": (2, 32, 40)} if "chunksizes" in storage else storage
    xr.Dataset({"t": (("time", "y", "x"), field)}).to_netcdf(tmp_path / "a.nc", encoding={"t": encoding})
    select = {"y": "1:60:4", "x": "::3"}
    convert([tmp_path / "a.nc"], tmp_path / "s.zarr", Options(select=select, samples="time"))
    with xr.open_dataset(tmp_path / "s.zarr", engine="maelio") as found:
        np.testing.assert_array_equal(found.t, field[:, 1:60:4, ::3])


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "dimension": ({"lev": "1"}, "--select lev=1: no such dimension; there are time, level, latitude, x"),
    "label": (
        {"level": "850,600"},
        "--select level=850,600: 600 not found; 'level' has 850, 700, 500, 250, 100",
    ),
    "against the order": (
        {"latitude": "0:50"},
        "--select latitude=0:50: 0:50 not found; 'latitude' has 60.0, 45.5, 0.1, -30.0",
    ),
    "time": (
        {"time": "2001"},
        "2001 not found; 'time' runs from 2000-02-27T00:00:00 to 2000-02-28T12:00:00",
    ),
    "no time": ({"time": "noon"}, "noon not found; 'time' runs from 2000-02-27"),
    "no label": ({"level": "top"}, "top not found; 'level' has 850"),
    "position": ({"x": "1,3"}, "3 not found; 'x' has no coordinate and positions 0 to 2"),
    "half a position": ({"x": "0.5:2"}, "0.5:2 not found; 'x' has no coordinate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path, name: str) -> None:
    """Before anything is written."""
    select, message = REFUSED[name]
    source = write(tmp_path / "a.nc", 0, 7, "standard", {})
    with pytest.raises(BadRequest) as caught:
        plan_conversion([source], tmp_path / "s.zarr", Options(select=select))
    assert message in str(caught.value)


def test_single_times_leave_gaps_that_must_be_wanted(tmp_path: Path) -> None:
    """A window over samples would take them for neighbours; and time goes forward."""
    source = write(tmp_path / "a.nc", 0, 20, "standard", {})
    days = Options(select={"time": "2000-02-27,2000-02-28,2000-03-01"})
    with pytest.raises(Inconsistent, match="a gap of 30 before time"):
        plan_conversion([source], tmp_path / "s.zarr", days)
    plan = plan_conversion([source], tmp_path / "s.zarr", Options(select=days.select, on={"gap": "allow"}))
    assert plan.samples.count == 12
    with pytest.raises(Inconsistent, match="comes after a later one"):
        plan_conversion([source], tmp_path / "s.zarr", Options(select={"time": "2000-02-28,2000-02-27"}))


def test_a_gap_outside_the_part_does_not_matter(tmp_path: Path, field: NDArray[np.float32]) -> None:
    """Only what is taken must be even."""
    source = write_netcdf(tmp_path / "a.nc", {"t": field}, times=[*range(12), *range(50, 62)])
    with pytest.raises(Inconsistent, match="a gap"):
        plan_conversion([source], tmp_path / "s.zarr")
    plan = plan_conversion([source], tmp_path / "s.zarr", Options(select={"time": ":2000-01-01T11"}))
    assert plan.samples.count == 12


@pytest.mark.parametrize("select", [{"time": "2000-01-01T03:2000-01-01T05"}, {"longitude": "15:20"}])
def test_chunks_without_anything_wanted_are_not_read(
    tmp_path: Path, field: NDArray[np.float32], select: dict[str, str]
) -> None:
    """A damaged chunk outside the part does no harm."""
    source = write_netcdf(tmp_path / "a.nc", {"t": field}, zlib=True, chunksizes=(3, 5, 3))
    damage(source, "t")
    convert([source], tmp_path / "s.zarr", Options(select=select))
    with h5py.File(source) as file:
        assert file["t"].id.get_num_chunks() > 1


@pytest.mark.parametrize("unlimited", [True, False])
def test_of_plain_rows_only_the_wanted_bytes_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unlimited: bool
) -> None:
    """Classic files: rows of the wanted samples, and of each the wanted latitudes."""
    field = np.random.default_rng(0).random((6, 200, 100)).astype(np.float32)
    source = write_netcdf(
        tmp_path / "a.nc", {"t": field, "u": field}, kind="NETCDF3_CLASSIC", unlimited=unlimited
    )
    with xr.open_dataset(source) as dataset:
        low, high = dataset.latitude.values[[199, 0]]
        (some,) = (dataset.latitude.values[10:190:179],)
        assert (low, high) == (30, 60)
    read = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        read.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    select = {"time": "2000-01-01T02:2000-01-01T03", "latitude": f"{some[0]}:{some[1]}"}
    options = Options(select=select, variables=("u",))
    assert plan_conversion([source], tmp_path / "s.zarr", options).arrays[0].shape[2] == 180
    convert([source], tmp_path / "s.zarr", options)
    assert read == [180 * 100 * 4] * 2


def test_another_part_is_another_conversion(tmp_path: Path) -> None:
    """What was begun for one part is not continued for another: the shapes may be equal."""
    source = write(tmp_path / "a.nc", 0, 7, "standard", {})
    digests = {
        plan_conversion([source], tmp_path / "s.zarr", Options(select=select)).digest
        for select in ({}, {"level": "850"}, {"level": "500"}, {"x": "0:1"}, {"x": "1:2"})
    }
    assert len(digests) == 5


def test_a_part_of_a_large_source_keeps_to_its_memory(tmp_path: Path) -> None:
    """The plan counts what is read around the part."""
    source = write(tmp_path / "a.nc", 0, 40, "standard", {"compression": "zstd", "chunksizes": (40, 5, 4, 3)})
    plan = plan_conversion([source], tmp_path / "s.zarr", Options(select={"level": "850,100"}, threads=1))
    assert plan.arrays[0].shape == (40, 1, 2, 4, 3)
    assert plan.peak_bytes >= 40 * 5 * 4 * 3 * 4
    assert "level: 2" in plan.describe()
    store = convert([source], tmp_path / "s.zarr", plan.options)
    whole = convert([source], tmp_path / "whole.zarr")
    assert {found.variable for found in compare(whole.path, store.path)} == {"t", "level"}

"""Every problem of the sources is refused, found beside all the others, and can be accepted by name."""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import cftime
import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.cli import main
from maelio.converters.calendars import Clock, translate
from maelio.converters.convert import convert
from maelio.converters.dry_run import DryRun
from maelio.converters.dry_run import dry_run as look_ahead
from maelio.converters.estimate import estimate_s
from maelio.converters.options import Options
from maelio.converters.policies import POLICIES, Action, Subject
from maelio.converters.storage import Part
from maelio.converters.times import Line, disorder, gaps, line_up, settle
from maelio.errors import BadData, BadRequest, Inconsistent, MaelioError
from tests.conftest import ROOT
from tests.converters.grib_files import cube, message, times, write_grib
from tests.converters.netcdf_files import damage, write_netcdf

On = Mapping[Subject, Action]

FIELD = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 2, 3)


def dry_run(files: Sequence[Path], target: Path, options: Options | None = None) -> DryRun:
    return look_ahead(files, target, options or Options())


def opened(store: Path) -> xr.Dataset:
    with xr.open_dataset(store, engine="maelio") as found:
        return found.load()


def converted(sources: Sequence[Path], on: On, **options: Any) -> xr.Dataset:
    target = sources[0].parent / f"{len(list(sources[0].parent.iterdir()))}.zarr"
    return opened(convert(sources, target, Options(on=on, **options)).path)


def two(folder: Path, **second: Any) -> list[Path]:
    """t of 4 hours, and of the 4 hours behind them, or what `second` says."""
    return [
        write_netcdf(folder / "a.nc", {"t": FIELD}),
        write_netcdf(folder / "b.nc", **{"fields": {"t": FIELD + 100}, "first": 4, **second}),
    ]


def accepted(store_or_plan: Mapping[str, Any]) -> str:
    return "\n".join(store_or_plan["accepted"])


times_of_files = st.lists(
    st.lists(st.integers(0, 12), min_size=1, max_size=6), min_size=1, max_size=4
)  # few, so that many are equal


@settings(deadline=None, max_examples=8)
@given(files=times_of_files, keep=st.sampled_from(["first", "last"]), shard_bytes=st.integers(1, 200))
def test_what_is_accepted_is_what_xarray_sorts_and_drops(
    files: list[list[int]], keep: Literal["first", "last"], shard_bytes: int
) -> None:
    """Doubles, gaps and disorder, in a file and between files: the files one behind the other, without the doubles, sorted."""
    with TemporaryDirectory() as name:
        paths = []
        for number, found in enumerate(files):
            field = np.arange(len(found) * 6, dtype=np.float32).reshape(-1, 2, 3) + 1000 * number
            paths.append(write_netcdf(Path(name) / f"{number}.nc", {"t": field}, times=found))
        everything = xr.concat([xr.load_dataset(path)[["t", "time_bnds"]] for path in paths], "time")
        wanted = everything.drop_duplicates("time", keep=keep).sortby("time")
        on: On = {"duplicate": keep, "unsorted": "sort", "gap": "allow"}
        made = converted(paths, on, shard_bytes=shard_bytes)
        for variable in ("time", "t", "time_bnds"):
            np.testing.assert_array_equal(made[variable].values, wanted[variable].values)


def lined_up(files: list[list[int]]) -> Line:
    times = [np.array(found, np.float64) for found in files]
    samples = line_up([len(found) for found in files], times, "time")
    paths = [Path(str(number)) for number in range(len(files))]
    return Line(samples, np.concatenate([times[run.file] for run in samples.runs]), paths, None)


@given(files=times_of_files, keep=st.sampled_from(["first", "last"]))
def test_settled_rows_are_those_that_xarray_keeps(
    files: list[list[int]], keep: Literal["first", "last"]
) -> None:
    """Each row by its file and number; sorting alone keeps the doubles, dropping alone does not hide disorder."""
    table = [(file, row, time) for file, found in enumerate(files) for row, time in enumerate(found)]
    everything = xr.Dataset(
        {"file": ("time", [each[0] for each in table]), "row": ("time", [each[1] for each in table])},
        {"time": [each[2] for each in table]},
    )
    line = lined_up(files)
    settled = settle(line, {"duplicate": keep, "unsorted": "sort"})
    wanted = everything.drop_duplicates("time", keep=keep).sortby("time")
    rows = [(run.file, row) for run in settled.joined.runs for row in run.rows]
    assert rows == list(zip(wanted.file.values, wanted.row.values, strict=True))
    assert sorted(settle(line, {"unsorted": "sort"}).times) == sorted(everything.time.values)
    single = settle(line, {"duplicate": keep})
    assert sorted(single.times) == sorted(wanted.time.values)
    before = {each.subject for each in disorder(line)}
    assert {each.subject for each in disorder(single)} <= before - {"duplicate"}
    if "unsorted" not in before:
        assert rows == [(run.file, row) for run in single.joined.runs for row in run.rows]


@given(files=times_of_files)
def test_times_that_nothing_is_wrong_with_have_no_problem_and_others_have_one(files: list[list[int]]) -> None:
    """Disorder is found where the rows, file after file by their first time, do not go forward; a gap where a step is long."""
    line = lined_up(files)
    found = {each.subject for each in disorder(line)}
    assert ("duplicate" in found) == (len({*line.times}) < len(line.times))
    assert bool(found) == bool((np.diff(line.times) <= 0).any())
    settled = settle(line, {"duplicate": "first", "unsorted": "sort"})
    assert (np.diff(settled.times) > 0).all()
    assert {*settled.times} == {*line.times}
    steps = np.diff(settled.times)
    assert len(list(gaps(settled))) == (
        np.count_nonzero(steps > 1.5 * np.median(steps)) if len(steps) > 1 else 0
    )


@given(
    size=st.integers(1, 12),
    data=st.data(),
)
def test_a_mirrored_part_written_backwards_is_the_part_of_the_mirrored(
    size: int, data: st.DataObject
) -> None:
    """Any ranges in any order."""
    bounds = st.tuples(st.integers(0, size - 1), st.integers(1, size)).filter(lambda r: r[0] < r[1])
    part = Part(size, tuple(range(*found) for found in data.draw(st.lists(bounds, min_size=1, max_size=4))))
    values = np.arange(size)
    np.testing.assert_array_equal(values[part.mirrored.indexes()][::-1], values[::-1][part.indexes()])


def exists(date: cftime.datetime, calendar: str) -> bool:
    try:
        cftime.datetime(date.year, date.month, date.day, calendar=calendar)
    except ValueError:
        return False
    return True


CALENDARS = ("standard", "noleap", "360_day", "all_leap", "julian")


@given(
    days=st.lists(st.integers(0, 40000), max_size=20),
    found=st.sampled_from(CALENDARS),
    wanted=st.sampled_from(CALENDARS),
)
def test_a_date_keeps_its_name_in_another_calendar_or_is_refused(
    days: list[int], found: str, wanted: str
) -> None:
    """Year, month, day and hour are the same; a date that is not there is never moved to another one."""
    here, there = Clock("days since 1900-01-01", found), Clock("hours since 1950-02-01", wanted)
    values = np.array(days) + 0.25
    dates = [cftime.num2date(value, here.units, here.calendar) for value in values]
    if not all(exists(date, wanted) for date in dates):
        with pytest.raises(ValueError, match="is no date in"):
            translate(values, here, there)
        return
    moved = translate(values, here, there)
    assert [cftime.num2date(value, there.units, there.calendar).isoformat() for value in moved] == [
        date.isoformat() for date in dates
    ]


def test_counts_of_another_epoch_keep_their_fraction() -> None:
    """Whole hours counted from half past are halves, also where the file has integers."""
    found = translate(
        np.array([0, 1]),
        Clock("hours since 2000-01-01 00:30", "noleap"),
        Clock("hours since 2000-01-01", "noleap"),
    )
    assert found.tolist() == [0.5, 1.5]


def lacking(folder: Path) -> list[Path]:
    return [
        write_netcdf(folder / "a.nc", {"t": FIELD, "u": FIELD + 50}),
        write_netcdf(folder / "b.nc", {"t": FIELD + 100}, first=4),
    ]


def other_unit(folder: Path) -> list[Path]:
    fields = {"t": FIELD, "u": FIELD}
    return [
        write_netcdf(folder / "a.nc", fields),
        write_netcdf(folder / "b.nc", fields, first=4, attributes={"t": {"units": "degC"}}),
    ]


def cut(folder: Path) -> list[Path]:
    files = [*two(folder), write_netcdf(folder / "c.nc", {"t": FIELD}, first=8)]
    os.truncate(files[2], files[2].stat().st_size // 2)
    return files


def unknown_filter(folder: Path) -> list[Path]:
    """u is compressed by a filter that nobody has, as by a plug-in of somebody else's."""
    files = [
        write_netcdf(folder / name, {"t": FIELD + n * 100}, first=4 * n)
        for n, name in enumerate(["a.nc", "b.nc"])
    ]
    for path in files:
        with h5py.File(path, "r+") as file:
            made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            made.set_chunk((4, 2, 3))
            made.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, (1,))
            space = h5py.h5s.create_simple((4, 2, 3))
            made_dataset = h5py.h5d.create(file.id, b"u", h5py.h5t.IEEE_F32LE, space, made)
            made_dataset.write_direct_chunk((0, 0, 0), bytes(96))
            for axis, name in enumerate(("time", "latitude", "longitude")):
                file["u"].dims[axis].attach_scale(file[name])
    return files


def grib_with_a_hole(folder: Path) -> list[Path]:
    messages = cube()
    del messages[6]
    return [write_grib(folder / "a.grib", messages)]


def grib_with_a_double(folder: Path) -> list[Path]:
    messages = cube()
    return [write_grib(folder / "a.grib", [*messages, message(level=850, **times(1)[0])])]


def grib_cut_short(folder: Path) -> list[Path]:
    files = [write_grib(folder / f"{n}.grib", [message(**time)]) for n, time in enumerate(times(3))]
    os.truncate(files[2], files[2].stat().st_size - 1)
    return files


def grib_of_two_grids(folder: Path) -> list[Path]:
    sizes = [6, 6, 3]
    return [
        write_grib(folder / f"{n}.grib", [message(Ni=sizes[n], **time)]) for n, time in enumerate(times(3))
    ]


PROBLEMS: dict[str, tuple[Callable[[Path], list[Path]], Subject, list[Action], str]] = {
    "duplicate": (
        lambda p: two(p, first=3), "duplicate", ["first", "last"], "b.nc: time 3 (2000-01-01T03:00:00) occurs twice"
    ),
    "overlap of several": (
        lambda p: two(p, first=1), "duplicate", ["first", "last"], "b.nc: time 1 (2000-01-01T01:00:00) and 2 more occurs"
    ),
    "unsorted": (
        lambda p: two(p, times=[4, 6, 5, 7]), "unsorted", ["sort"],
        "b.nc: time 5 (2000-01-01T05:00:00) comes after a later one",
    ),
    "between the other's": (
        lambda p: two(p, first=1.5), "unsorted", ["sort"], "b.nc: time 1.5 (2000-01-01T01:30:00) comes after",
    ),
    "gap": (lambda p: two(p, first=9), "gap", ["allow"], "b.nc: a gap of 6 before time 9 (2000-01-01T09:00:00)"),
    "variable": (lacking, "variable", ["drop", "fill"], "b.nc: variable 'u' is missing, wanted as in a.nc"),
    "unit": (
        other_unit, "variable", ["drop"],
        "b.nc: variable 't' has units degC, wanted K as in a.nc",
    ),
    "sizes": (
        lambda p: two(p, fields={"t": FIELD[:, :1]}), "grid", ["skip"],
        "b.nc: variable 't' has sizes (1, 3), wanted (2, 3) as in a.nc",
    ),
    "coordinates": (
        lambda p: two(p, latitudes=[60, 31]), "grid", ["skip"],
        "b.nc: variable 'latitude' differs from a.nc: 31.0 at (1,), wanted 30.0",
    ),
    "latitude": (
        lambda p: two(p, latitudes=[30, 60]), "latitude", ["flip"],
        "b.nc: variable 'latitude' runs the other way, wanted as in a.nc",
    ),
    "calendar": (
        lambda p: two(p, calendar="noleap"), "calendar", ["convert", "skip"],
        "b.nc: variable 'time' has calendar 'noleap', wanted '360_day' as in the first file",
    ),
    "step of time": (
        lambda p: two(p, units="days since 2000-01-01", times=[1 / 6, 5 / 24, 0.25, 7 / 24]), "calendar", ["convert", "skip"],
        "b.nc: variable 'time' has units 'days since 2000-01-01', wanted 'hours since",
    ),
    "missing time": (
        lambda p: two(p, times=[4, 5, np.nan, 7]), "truncated", ["skip"], "b.nc: variable 'time' is nan at row 2, wanted a time"
    ),
    "no time": (
        lambda p: two(p, fields={"t": FIELD[:0]}), "truncated", ["skip"], "b.nc: dimension 'time' has no values, wanted one"
    ),
    "truncated": (cut, "truncated", ["skip"], "c.nc: cannot be opened as NetCDF"),
    "filter": (unknown_filter, "filter", ["drop"], "a.nc: variable 'u' is packed by HDF5 filter 32999, which is not installed"),
    "hole": (grib_with_a_hole, "messages", ["fill"], "a.grib: variable 'u' has 5 messages, wanted 6"),
    "double": (grib_with_a_double, "duplicate", ["first", "last"], "a.grib: variable 't' has messages 1 and 13 for the same"),
    "truncated GRIB": (grib_cut_short, "truncated", ["skip"], "2.grib: message 1 at byte 0: is cut short"),
    "other GRIB grid": (grib_of_two_grids, "grid", ["skip"], "2.grib: variable 't' has sizes (4, 3), wanted (4, 6)"),
    "early end": (
        lambda p: [write_grib(p / "a.grib", cube()[:-2])], "messages", ["fill"], "variable 'u' has 2 of the 3 values of time"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_refused_in_one_line_that_names_what_would_accept_it(tmp_path: Path, name: str) -> None:
    """File, variable, found, wanted, and the policy; with the policy it converts, and the store says what was done."""
    make, subject, actions, text = PROBLEMS[name]
    files = make(tmp_path)
    found = dry_run(files, tmp_path / "s.zarr")
    of_it = [each for each in found.refused if each.subject == subject]
    assert text in of_it[0].message
    assert {*actions} <= {*of_it[0].actions}
    with pytest.raises(found.refused[0].kind) as caught:
        convert(files, tmp_path / "s.zarr")
    more = f" (and {len(found.refused) - 1} more: --dry-run lists them)" if len(found.refused) > 1 else ""
    assert str(caught.value) == found.refused[0].message + more
    for action in actions:
        assert f"--on {subject}={action}" in of_it[0].message
        target = tmp_path / f"{action}.zarr"
        on: On = {"gap": "allow", subject: action}
        store = convert(files, target, Options(on=on))
        done = POLICIES[subject].actions[action]
        assert store.contents.options["on"] == on
        assert [line for line in accepted(store.contents.options).splitlines() if line.endswith(done)]
        assert of_it[0].file.name in accepted(store.contents.options)


def test_the_sources_of_a_store_are_those_that_took_part(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is left out is in the log and in the store's options, not in its sources."""
    files = cut(tmp_path)
    with caplog.at_level(logging.WARNING):
        store = convert(files, tmp_path / "s.zarr", Options(on={"truncated": "skip"}))
    assert [Path(source.path).name for source in store.contents.sources] == ["a.nc", "b.nc"]
    assert "c.nc: cannot be opened as NetCDF" in caplog.text
    assert "the file is left out" in caplog.text
    np.testing.assert_array_equal(opened(store.path).t.values, np.concatenate([FIELD, FIELD + 100]))


def test_a_file_that_is_not_there_is_no_problem_of_the_data(tmp_path: Path) -> None:
    """A wrong name is not left out."""
    files = [*two(tmp_path), tmp_path / "c.nc"]
    with pytest.raises(MaelioError, match=r"c\.nc: no such file") as caught:
        convert(files, tmp_path / "s.zarr", Options(on={"truncated": "skip"}))
    assert caught.value.exit_code == 3


def test_nothing_is_left(tmp_path: Path) -> None:
    """Of files or of variables: no empty store."""
    files = cut(tmp_path)[2:]
    with pytest.raises(BadData, match=r"no file is left: .*c\.nc"):
        convert(files, tmp_path / "s.zarr", Options(on={"truncated": "skip"}))
    files = two(tmp_path, attributes={"t": {"units": "degC"}})
    with pytest.raises(BadData, match=r"no variable is left: .*b\.nc: variable 't' has units degC"):
        convert(files, tmp_path / "s.zarr", Options(on={"variable": "drop"}))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_a_missing_variable_is_nan_for_its_file_alone(tmp_path: Path, packed: bool, order: int) -> None:
    """Whichever file comes first in time: attributes and packing are those of the file that has it."""
    more: dict[str, Any] = {
        "attributes": {"u": {"scale_factor": np.float32(0.5), "_FillValue": np.int16(-1)}}
    }
    u = np.arange(24, dtype=np.int16).reshape(4, 2, 3)
    files = [
        write_netcdf(
            tmp_path / "a.nc", {"t": FIELD, "u": u if packed else FIELD}, **(more if packed else {})
        ),
        write_netcdf(tmp_path / "b.nc", {"t": FIELD + 100}, first=4 * order),
    ]
    store = convert(files, tmp_path / "s.zarr", Options(on={"variable": "fill"}, shard_bytes=70))
    found = opened(store.path)
    has, lacks = (slice(4), slice(4, None)) if order > 0 else (slice(4, None), slice(4))
    np.testing.assert_array_equal(found.u.values[has], u * 0.5 if packed else FIELD)
    assert np.isnan(found.u.values[lacks]).all()
    np.testing.assert_array_equal(found.t.values[lacks], FIELD + 100)
    assert found.u.units == "K"
    assert ("scale_factor" in store.contents.variables["u"].encoding) == packed


def test_integers_have_no_nan_to_fill_with(tmp_path: Path) -> None:
    """They can be dropped."""
    files = [
        write_netcdf(tmp_path / "a.nc", {"t": FIELD, "n": FIELD.astype("i4")}),
        write_netcdf(tmp_path / "b.nc", {"t": FIELD}, first=4),
    ]
    with pytest.raises(
        Inconsistent, match=r"'n' is missing, wanted as in a\.nc; --on variable=drop takes it$"
    ):
        converted(files, {"variable": "fill"})
    assert [*converted(files, {"variable": "drop"}).data_vars] == ["time_bnds", "t"]


def test_values_in_another_unit_are_not_overwritten(tmp_path: Path) -> None:
    """They are there: NaN is for what is not."""
    with pytest.raises(Inconsistent, match=r"units degC, wanted K as in a\.nc; --on variable=drop takes it$"):
        converted(other_unit(tmp_path), {"variable": "fill"})


def test_a_variable_that_the_first_file_lacks_does_not_vanish(tmp_path: Path) -> None:
    """It is dropped by name only."""
    files = lacking(tmp_path)[::-1]
    with pytest.raises(
        Inconsistent, match=r"b\.nc: variable 'u' is missing, wanted as in a\.nc; --on variable=drop"
    ):
        converted(files, {})
    assert "u" not in converted(files, {"variable": "drop"})
    assert "u" not in converted(files, {}, variables=("t",))


STORAGES: dict[str, dict[str, Any]] = {
    "chunks": {"zlib": True, "shuffle": True, "chunksizes": (3, 2, 2)},
    "contiguous": {"contiguous": True, "unlimited": False},
    "slow": {"compression": "zstd", "chunksizes": (2, 4, 3)},
    "classic": {"kind": "NETCDF3_CLASSIC"},
    "packed": {"attributes": {"t": {"scale_factor": np.float32(0.5)}}, "zlib": True},
}


@pytest.mark.parametrize(
    "select", [{}, {"latitude": "60:40"}, {"latitude": "30,60,40", "longitude": "10:20"}]
)
@pytest.mark.parametrize("storage", STORAGES)
def test_flipped_latitudes_land_where_they_belong(
    tmp_path: Path, storage: str, select: dict[str, str]
) -> None:
    """In any storage, of any part: what xarray gives when it sorts the file by latitude."""
    field: NDArray[Any] = np.arange(6 * 4 * 3).reshape(6, 4, 3).astype("i2" if storage == "packed" else "f4")
    latitudes = [60.0, 50, 40, 30]
    files = [
        write_netcdf(tmp_path / "a.nc", {"t": field}, latitudes=latitudes, **STORAGES[storage]),
        write_netcdf(
            tmp_path / "b.nc", {"t": field[:, ::-1] + field.dtype.type(100)}, first=6, latitudes=latitudes[::-1], **STORAGES[storage]
        ),
    ]  # fmt: skip
    chosen = {name: [float(at) for at in text.split(",")] if "," in text else slice(*map(float, text.split(":")))
              for name, text in select.items()}  # fmt: skip
    wanted = xr.concat([xr.load_dataset(path).sortby("latitude", ascending=False) for path in files], "time")
    found = converted(files, {"latitude": "flip"}, select=select, shard_bytes=100)
    for name in ("t", "latitude"):
        np.testing.assert_array_equal(found[name].values, wanted.sel(chosen)[name].values)


@pytest.mark.parametrize(
    "options",
    [
        {"samples": "time,latitude"},
        {"samples": "time,longitude,latitude"},
        {"reduce": {"longitude": ("mean",)}},
    ],
)
def test_what_is_flipped_and_filled_is_so_for_any_samples(tmp_path: Path, options: dict[str, Any]) -> None:
    """Also where latitudes are samples themselves, and where statistics are made of what is missing."""
    field = np.arange(6 * 4 * 3, dtype=np.float32).reshape(6, 4, 3)
    latitudes = [60.0, 50, 40, 30]
    files = [
        write_netcdf(tmp_path / "a.nc", {"t": field, "u": field}, latitudes=latitudes, zlib=True),
        write_netcdf(tmp_path / "b.nc", {"t": field[:, ::-1]}, first=6, latitudes=latitudes[::-1], zlib=True),
    ]
    part = {"latitude": "50:30"}
    found = converted(
        files, {"latitude": "flip", "variable": "fill"}, select=part, shard_bytes=100, **options
    )
    wanted = xr.Dataset({"t": (("time", "latitude", "longitude"), np.concatenate([field, field])[:, 1:])})
    wanted["u"] = wanted.t.where(wanted.time < 6)
    if "reduce" in options:
        wanted = wanted.mean("longitude").rename(t="t_mean", u="u_mean")
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name].transpose(*values.dims).values, values.values)


def test_an_export_takes_policies_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its dry run lists the problems; how long it takes is not known."""
    files = lacking(tmp_path)
    command = ["convert", *map(str, files), str(tmp_path / "x.nc"), "--format", "netcdf"]
    assert main([*command, "--dry-run"]) == 6
    assert "--on variable=drop or --on variable=fill takes it" in capsys.readouterr().out
    assert main([*command, "--on", "variable=fill", "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["format"], shown["estimated_s"], shown["problems"]) == ("netcdf", None, [])
    assert "b.nc: variable 'u' is missing" in shown["accepted"][0]
    assert main([*command, "--on", "variable=fill"]) == 0
    with xr.open_dataset(tmp_path / "x.nc") as found:
        np.testing.assert_array_equal(found.u.values[:4], FIELD + 50)
        assert np.isnan(found.u.values[4:]).all()


def test_flipped_grib_lands_where_it_belongs(tmp_path: Path) -> None:
    """Messages that scan northward among those that scan southward."""
    values = np.arange(24.0).reshape(4, 6)
    north = {
        "jScansPositively": 1,
        "latitudeOfFirstGridPointInDegrees": 30,
        "latitudeOfLastGridPointInDegrees": 60,
    }
    first, second = times(2)
    files = [
        write_grib(tmp_path / "a.grib", [message(values, **first)]),
        write_grib(tmp_path / "b.grib", [message(values[::-1], **second, **north)]),
    ]
    with pytest.raises(Inconsistent, match=r"b\.grib: variable 'latitude' runs the other way"):
        converted(files, {})
    found = converted(files, {"latitude": "flip"})
    np.testing.assert_allclose(found.t.values, [values, values], atol=1e-5)


def test_bounds_of_flipped_latitudes_may_be_in_either_order(tmp_path: Path) -> None:
    """A mask on the grid is turned with it; one that then differs is another grid."""

    def write(path: Path, first: int, turn: bool, mask: Sequence[int]) -> Path:
        latitude = np.array([60.0, 50, 40])
        data = xr.Dataset(
            {
                "t": (("time", "latitude"), np.arange(6, dtype="f4").reshape(2, 3)),
                "latitude_bnds": (("latitude", "bnds"), latitude[:, None] + [-5, 5]),
                "mask": ("latitude", np.array(mask)),
            },
            {
                "time": ("time", np.arange(2) + first, {"units": "hours since 2000-01-01"}),
                "latitude": ("latitude", latitude, {"units": "degrees_north", "bounds": "latitude_bnds"}),
            },
        )
        if turn:
            data = data.isel(latitude=slice(None, None, -1), bnds=slice(None, None, -1))
        data.to_netcdf(path)
        return path

    files = [write(tmp_path / "a.nc", 0, False, [1, 0, 0]), write(tmp_path / "b.nc", 2, True, [1, 0, 0])]
    found = converted(files, {"latitude": "flip"})
    np.testing.assert_array_equal(found.t.values[:2], found.t.values[2:])
    other = [files[0], write(tmp_path / "c.nc", 2, True, [0, 0, 1])]
    with pytest.raises(Inconsistent, match=r"variable 'mask' differs from a\.nc: 0 at \(0,\), wanted 1"):
        converted(other, {"latitude": "flip"})


def test_dates_are_converted_or_refused_by_name(tmp_path: Path) -> None:
    """30 February is in no other calendar; then the file can be left out."""
    first = write_netcdf(tmp_path / "a.nc", {"t": FIELD}, calendar="standard", units="days since 2000-02-24")
    good = write_netcdf(tmp_path / "b.nc", {"t": FIELD}, calendar="360_day", units="days since 2000-02-28", times=[0, 1, 4, 5])  # fmt: skip
    bad = write_netcdf(tmp_path / "c.nc", {"t": FIELD}, calendar="360_day", units="days since 2000-02-28")
    found = converted(
        [first, good], {"calendar": "convert"}, variables=("t",), select={"time": "2000-02-24:2000-02-28"}
    )
    assert [str(time)[:10] for time in found.time.values[-2:]] == ["2000-02-27", "2000-02-28"]
    policies: list[On] = [{}, {"calendar": "convert"}]
    for on in policies:
        with pytest.raises(
            Inconsistent,
            match=r"c\.nc.*'360_day' \(time: 2000-02-30 is no date in 'standard'\).*--on calendar=skip takes it",
        ):
            converted([first, bad], on)
    assert converted([first, bad], {"calendar": "skip"}).sizes["time"] == 4


def test_names_of_one_calendar_are_one(tmp_path: Path) -> None:
    """CF 1.11, section 4.4.2: "gregorian" is "standard"."""
    files = [
        write_netcdf(tmp_path / f"{n}.nc", {"t": FIELD}, first=4 * n, calendar=calendar)
        for n, calendar in enumerate(["standard", "gregorian"])
    ]
    assert converted(files, {}).sizes["time"] == 8


def test_missing_messages_are_nan_and_nothing_else_is(tmp_path: Path) -> None:
    """One in the middle, and the last ones of a variable that ends early."""
    messages = cube()
    whole = converted([write_grib(tmp_path / "w.grib", messages)], {})
    gone = [(1, "u", 0), (2, "u", 0), (2, "u", 1)]  # time, variable, level
    for number in (11, 10, 6):
        del messages[number]
    found = converted([write_grib(tmp_path / "a.grib", messages)], {"messages": "fill"})
    for time, name, level in gone:
        assert np.isnan(found[name].values[time, level]).all()
        whole[name].values[time, level] = np.nan
    xr.testing.assert_equal(found, whole)


@pytest.mark.parametrize(("keep", "wanted"), [("first", 0.0), ("last", 7.0)])
def test_of_two_messages_the_first_or_the_last_is_taken(tmp_path: Path, keep: Action, wanted: float) -> None:
    """As the file has them."""
    path = write_grib(tmp_path / "a.grib", [message(np.full(24, value)) for value in (0.0, 3.0, 7.0)])
    assert (converted([path], {"duplicate": keep}).t.values == wanted).all()


@pytest.mark.parametrize("name", ["duplicate", "hole"])
def test_a_damaged_file_after_good_ones_does_not_hide_the_others(tmp_path: Path, name: str) -> None:
    """All files are looked at: also what is wrong behind one that does not open, in other formats too."""
    files = [tmp_path / "0.nc", *PROBLEMS[name][0](tmp_path)]
    files[0].write_bytes(b"CDF\x01\x00\x00")
    found = dry_run(files, tmp_path / "s.zarr").refused
    assert [each.subject for each in found] == ["truncated", PROBLEMS[name][1]]


@pytest.mark.parametrize("asked", [{"variables": ("u",)}, {"select": {"time": "2001"}}, {"samples": "step"}])
def test_what_is_asked_for_may_be_in_a_file_that_is_damaged(tmp_path: Path, asked: Any) -> None:
    """Then the file is what is told."""
    files = cut(tmp_path)
    found = dry_run(files, tmp_path / "s.zarr", Options(**asked))
    assert [each.file.name for each in found.refused] == ["c.nc"]
    with pytest.raises(BadRequest):
        dry_run(files, tmp_path / "s.zarr", Options(**asked, on={"truncated": "skip"}))


def test_a_policy_is_for_what_is_selected(tmp_path: Path) -> None:
    """A double outside of the part is no problem; and what is asked for twice is sorted out as well."""
    files = [*two(tmp_path), write_netcdf(tmp_path / "c.nc", {"t": FIELD}, first=7)]
    assert converted(files, {}, select={"time": ":2000-01-01T05"}).sizes["time"] == 6
    with pytest.raises(Inconsistent, match="occurs twice"):
        converted(files, {}, select={"time": "2000-01-01T04:"})
    assert converted(files, {"duplicate": "first"}, select={"time": "2000-01-01T04:"}).sizes["time"] == 7


def test_what_was_begun_by_one_policy_is_not_continued_by_another(tmp_path: Path) -> None:
    """Other rows or messages are other bytes; what a policy only lets pass is not."""
    path = write_grib(tmp_path / "a.grib", [message(np.full(24, value)) for value in (0.0, 3.0)])
    cases: list[tuple[list[Path], Sequence[On], int]] = [
        ([path], [{"duplicate": "first"}, {"duplicate": "last"}], 2),
        (two(tmp_path, first=3), [{"duplicate": "first"}, {"duplicate": "last"}], 2),
        (two(tmp_path), [{}, {"gap": "allow"}, {"non-finite": "allow"}], 1),
    ]
    for files, policies, wanted in cases:
        plans = [dry_run(files, tmp_path / "s.zarr", Options(on=on)).plan for on in policies]
        assert len({plan.digest for plan in plans if plan}) == wanted


def test_times_without_a_date_are_named_by_their_number(tmp_path: Path) -> None:
    """Months of any length; and the steps of a forecast."""
    months: dict[str, Any] = {"units": "months since 2000-01-01", "calendar": "standard"}
    files = [write_netcdf(tmp_path / f"{n}.nc", {"t": FIELD}, first=3 * n, **months) for n in (0, 1)]
    with pytest.raises(Inconsistent, match=r"1\.nc: time 3 occurs twice"):
        converted(files, {})
    steps = [write_grib(tmp_path / f"{n}.grib", [message(step=n), message(step=n + 3)]) for n in (0, 3)]
    with pytest.raises(Inconsistent, match=r"3\.grib: step 3 occurs twice"):
        converted(steps, {})


WRONG = [
    ({"gaps": "allow"}, "--on gaps=allow: no such problem; there are truncated=skip, "),
    ({"gap": "skip"}, "--on gap=skip: wanted gap=allow"),
    ({"variable": ""}, r"--on variable=: wanted variable=drop\|fill"),
]


@pytest.mark.parametrize(("on", "message"), WRONG)
def test_a_policy_that_is_not_in_the_table_is_refused(on: Any, message: str) -> None:
    """With what there is."""
    with pytest.raises(BadRequest, match=message):
        Options(on=on)


def test_help_and_docs_name_every_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """From the one table."""
    assert main(["convert", "--help"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    page = (ROOT / "docs" / "problems.md").read_text()
    for subject, policy in POLICIES.items():
        assert f"{subject}={'|'.join(policy.actions)}" in shown
        for action, done in policy.actions.items():
            assert f"| `{subject}={action}` | {policy.problem} | {done} |" in page


def test_a_dry_run_lists_every_problem_of_all_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of all kinds, from the first file to the last; exit code 6, and the same as JSON."""
    good = write_netcdf(tmp_path / "0000.nc", {"t": FIELD})
    files = [good]
    for number in range(1, 40):
        first = {10: 39, 20: 81}.get(number, 4 * number)
        fields = {"other": FIELD} if number == 5 else {"t": FIELD[:, :1] if number == 15 else FIELD}
        calendar = "noleap" if number == 25 else "360_day"
        latitudes = [30, 60] if number == 30 else None
        files.append(
            write_netcdf(
                tmp_path / f"{number:04}.nc", fields, first=first, calendar=calendar, latitudes=latitudes
            )
        )
    os.truncate(files[-1], 100)
    target = tmp_path / "s.zarr"
    found = dry_run(files, target)
    assert {(each.file.name, each.subject) for each in found.refused} == {
        ("0000.nc", "variable"), ("0005.nc", "variable"), ("0010.nc", "duplicate"), ("0011.nc", "gap"),
        ("0015.nc", "grid"), ("0020.nc", "gap"), ("0021.nc", "duplicate"), ("0025.nc", "calendar"),
        ("0030.nc", "latitude"), ("0039.nc", "truncated"),
    }  # fmt: skip
    assert all(each.message in found.describe() for each in found.refused)
    assert main(["convert", *map(str, files), str(target), "--dry-run", "--json"]) == 6
    shown = json.loads(capsys.readouterr().out)
    assert shown == {"estimated_s": None, "problems": [each.to_json() for each in found.refused]}
    assert not target.exists()


def test_a_gap_that_is_refused_still_has_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be the same with the gap."""
    files = two(tmp_path, first=9)
    command = ["convert", *map(str, files), str(tmp_path / "s.zarr"), "--dry-run"]
    assert main(command) == 6
    assert "8 samples along 'time'" in (shown := capsys.readouterr().out)
    assert "--on gap=allow takes it" in shown
    assert main([*command, "--on", "gap=allow"]) == 0
    assert "accepted: " in (shown := capsys.readouterr().out)
    assert "a gap of 6" in shown


class TestEstimate:
    def test_it_is_scaled_from_what_was_measured(self, tmp_path: Path) -> None:
        """A clock that says that each look takes half a second: 4 of 8 samples, on one thread."""
        files = two(tmp_path)
        plan = dry_run(files, tmp_path / "s.zarr", Options(threads=1)).plan
        assert plan is not None
        ticks = iter(np.arange(10) / 2)
        assert estimate_s(plan, lambda: float(next(ticks))) == 0.5 * 8 / 4
        assert {path.name for path in tmp_path.iterdir()} == {"a.nc", "b.nc"}

    def test_it_is_printed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = [
            "convert",
            *map(str, two(tmp_path)),
            str(tmp_path / "s.zarr"),
            "--dry-run",
            "--threads",
            "1",
        ]
        assert main(command) == 0
        assert "s on 1 thread(s) (measured on one sample, without the disk)" in capsys.readouterr().out
        assert main([*command, "--json"]) == 0
        assert 0 < json.loads(capsys.readouterr().out)["estimated_s"] < 60

    def test_what_cannot_be_read_is_a_problem(self, tmp_path: Path) -> None:
        """The damaged chunk is named, as the conversion would name it."""
        noise = np.random.default_rng(0).random((8, 20, 20)).astype(np.float32)
        source = write_netcdf(tmp_path / "a.nc", {"t": noise}, zlib=True)
        damage(source, "t")
        found = dry_run([source], tmp_path / "s.zarr")
        assert (found.exit_code, found.estimated_s) == (6, None)
        with pytest.raises(BadData) as caught:
            convert([source], tmp_path / "s.zarr")
        assert found.refused[0].message == str(caught.value)

    def test_nothing_sensible_is_null(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sample that takes too long to try."""
        plan = dry_run(two(tmp_path), tmp_path / "s.zarr").plan
        assert plan is not None
        monkeypatch.setattr("maelio.converters.estimate._SAMPLE_BYTES", 23)
        assert estimate_s(plan) is None

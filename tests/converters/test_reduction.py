"""Statistics over members are xarray's, in float64, and hold little memory."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from maelio.cli import main
from maelio.converters import steps
from maelio.converters.compare import compare
from maelio.converters.convert import convert, plan_conversion
from maelio.converters.options import Options
from maelio.converters.reduction import Reduce
from maelio.errors import BadData, BadRequest
from maelio.store import open_store
from tests.converters.grib_files import COLUMNS, ROWS, message, times, write_grib
from tests.converters.memory import traced_peak

BOTH = {"number": ("mean", "std")}
values = st.one_of(st.floats(-1e3, 1e3, width=32), st.just(np.nan))


@settings(deadline=None)  # the first call of xarray loads a part of it
@given(
    field=arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=5), elements=values),
    data=st.data(),
)
def test_statistics_are_those_of_xarray(field: NDArray[np.float32], data: st.DataObject) -> None:
    """Missing members do not count; without any the result is missing."""
    axis = data.draw(st.integers(0, field.ndim - 1))
    mean, std = Reduce(axis, field.shape[axis], ("mean", "std"))(field)
    names = tuple("abcd"[: field.ndim])
    wanted = xr.Variable(names, field.astype("f8"))
    np.testing.assert_allclose(mean, wanted.mean(names[axis]), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(std, wanted.std(names[axis]), rtol=1e-9, atol=1e-9)


@given(dtype=st.sampled_from(["f4", "f8", "i2"]), members=st.integers(1, 12))
def test_reducing_holds_no_more_than_it_says(dtype: str, members: int) -> None:
    """Members are taken one by one: the memory is that of the result."""
    field = np.ones((5, members, 1000), dtype)
    made = Reduce(1, members, ("mean", "std"))
    assert traced_peak(lambda: made(field)) <= made.scratch(field.size) + 2**16  # NumPy's casting buffers


STORAGES: list[dict[str, Any]] = [
    {},
    {"contiguous": True},
    {"zlib": True, "shuffle": True},
    {"compression": "zstd"},
    {"dtype": "i2", "scale_factor": 0.01, "add_offset": 250.0, "_FillValue": -(2**15)},
]
ORDERS = [("time", "number", "y", "x"), ("number", "time", "y", "x"), ("y", "time", "x", "number")]


def write(path: Path, first: int, steps: int, order: tuple[str, ...], storage: dict[str, Any]) -> Path:
    """t over six members, every 11th value missing; p without members; a name for each member."""
    random = np.random.default_rng(first)
    field = (random.random((steps, 6, 3, 4)) * 30 + 235).astype("f4")
    field.ravel()[::11] = np.nan
    t = xr.Variable(("time", "number", "y", "x"), field, {"units": "K", "cell_methods": "time: point"})
    dataset = xr.Dataset(
        {"t": t.transpose(*order), "p": (("time", "y"), random.random((steps, 3)))},
        coords={
            "time": np.arange(first, first + steps),
            "number": np.arange(6),
            "label": ("number", list("abcdef")),
        },
    )
    dataset.time.attrs["units"] = "days since 2000-01-01"
    dataset.to_netcdf(
        path, encoding={"t": storage}, unlimited_dims=[] if "contiguous" in storage else ["time"]
    )
    return path


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_store_holds_the_statistics_of_its_sources(data: st.DataObject) -> None:
    """Any storage, order of dimensions, files, shards, samples, and rows that are reduced at once."""
    storage = data.draw(st.sampled_from(STORAGES), label="storage")
    order = data.draw(st.sampled_from(ORDERS), label="order")
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3), label="steps of each file")
    select = data.draw(st.sampled_from(["", "0:2", "5,1,3"]), label="members")
    options = Options(
        reduce={"number": data.draw(st.sampled_from([("mean",), ("std",), ("std", "mean")]))},
        select={"number": select} if select else {},
        shard_bytes=data.draw(st.integers(1, 1000), label="shard bytes"),
        samples="time"
        if len(lengths) > 1
        else data.draw(st.sampled_from(["time", "x", "time,x", "x,time"]), label="samples"),
        dtype=data.draw(st.sampled_from([None, "float32"])),
    )
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "_AT_ONCE", data.draw(st.sampled_from([1, 600, 2**20]), label="at once"))
        folder = Path(name)
        files = [
            write(folder / f"{number}.nc", sum(lengths[:number]), length, order, storage)
            for number, length in enumerate(lengths)
        ]
        whole = xr.concat(map(xr.load_dataset, files), "time", data_vars="minimal")
        members = whole.sel(number={"": slice(None), "0:2": slice(0, 2), "5,1,3": [5, 1, 3]}[select])
        store = convert(files, folder / "s.zarr", options)
        with xr.open_dataset(store.path, engine="maelio") as found:
            wanted = {
                "mean": members.t.astype("f8").mean("number"),
                "std": members.t.astype("f8").std("number"),
            }
            asked = sorted(options.reduce["number"])
            assert set(found.variables) == {"time", "p", *(f"t_{statistic}" for statistic in asked)}
            for statistic in asked:
                made = found[f"t_{statistic}"]
                assert made.dtype == (options.dtype or whole.t.dtype)
                assert made.dims == wanted[statistic].dims
                np.testing.assert_allclose(made, wanted[statistic], rtol=2e-7, atol=1e-12)
                method = {"mean": "mean", "std": "standard_deviation"}[statistic]
                assert made.attrs == {"units": "K", "cell_methods": f"time: point number: {method}"}
            np.testing.assert_allclose(found.p, whole.p, rtol=1e-7)
        if options.dtype is None:
            assert compare(files, store.path) == []
            assert compare(store.path, files) == []


def test_a_comparison_finds_a_member_that_differs(tmp_path: Path) -> None:
    """By the statistics of the source, and nothing is said of members that a store cannot have."""
    source = write(tmp_path / "a.nc", 0, 4, ORDERS[0], {})
    with xr.load_dataset(source, decode_times=False) as dataset:
        dataset.t[2, 3, 1, 1] += 1
        dataset.to_netcdf(tmp_path / "b.nc")
    store = convert([tmp_path / "b.nc"], tmp_path / "s.zarr", Options(reduce=BOTH))
    found = compare(source, store.path)
    assert [(each.variable, each.count, each.where) for each in found] == [
        ("t_mean", 1, "time=2000-01-03T00:00:00, y=1, x=1"),
        ("t_std", 1, "time=2000-01-03T00:00:00, y=1, x=1"),
    ]
    assert found[0].largest == pytest.approx(1 / 5, rel=1e-3)  # of six members one is missing there
    assert compare(source, store.path, within={"t_mean": 0.21, "t_std": 1}) == []


def ensemble(path: Path) -> Path:
    """Edition 1, as an ensemble forecast is archived: ten members on two levels at three times."""
    random = np.random.default_rng(0)
    keys: dict[str, Any] = {"localDefinitionNumber": 1, "stream": "enfo", "type": "pf"}
    return write_grib(
        path,
        [
            message(
                random.random((ROWS, COLUMNS)) * 30 + 250,
                edition=1,
                **keys,
                number=number,
                level=level,
                **time,
            )
            for time in times(3)
            for number in range(1, 11)
            for level in (850, 500)
        ],
    )


def test_members_in_grib_become_their_statistics(tmp_path: Path) -> None:
    """Ten messages are one field; the level stays, the member's number goes."""
    source = ensemble(tmp_path / "a.grib")
    plain = convert([source], tmp_path / "plain.zarr")
    store = convert([source], tmp_path / "s.zarr", Options(reduce=BOTH, shard_bytes=1))
    with (
        xr.open_dataset(plain.path, engine="maelio") as members,
        xr.open_dataset(store.path, engine="maelio") as found,
    ):
        assert members.sizes["number"] == 10
        assert list(found.data_vars) == ["t_mean", "t_std"]
        assert found.t_mean.dims == ("time", "isobaricInhPa", "latitude", "longitude")
        assert set(found.coords) == set(members.coords) - {"number"}
        assert found.t_std.attrs["cell_methods"] == "number: standard_deviation"
        assert found.t_std.attrs["GRIB_shortName"] == "t"
        wide = members.t.astype("f8")
        np.testing.assert_allclose(found.t_mean, wide.mean("number"), rtol=1e-7)
        np.testing.assert_allclose(found.t_std, wide.std("number"), rtol=1e-7)


def test_all_statistics_come_from_one_look_at_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding costs more than anything else."""
    source = ensemble(tmp_path / "a.grib")
    calls = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        calls.append(offset)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    counts = []
    for number, options in enumerate((Options(), Options(reduce=BOTH))):
        calls.clear()
        convert([source], tmp_path / f"{number}.zarr", options)
        counts.append(len(calls))
    assert counts[0] == counts[1] > 60


def test_many_members_keep_to_the_memory(tmp_path: Path) -> None:
    """All members of all samples are three times the limit."""
    field = np.random.default_rng(0).random((80, 50, 32, 32)).astype("f4")
    dataset = xr.Dataset({"t": (("time", "number", "y", "x"), field)})
    dataset.to_netcdf(
        tmp_path / "a.nc", encoding={"t": {"zlib": True, "complevel": 1, "chunksizes": (1, 10, 32, 32)}}
    )
    options = Options(reduce=BOTH, memory=5 * 2**20, threads=1, samples="time")
    plan = plan_conversion([tmp_path / "a.nc"], tmp_path / "s.zarr", options)
    assert field.nbytes > 3 * options.memory
    assert plan.peak_bytes <= options.memory
    peak = traced_peak(lambda: convert([tmp_path / "a.nc"], tmp_path / "s.zarr", options))
    assert peak <= plan.peak_bytes + 2**20  # and the plan itself
    with xr.open_dataset(tmp_path / "s.zarr", engine="maelio") as found:
        np.testing.assert_allclose(found.t_std, field.astype("f8").std(axis=1), rtol=1e-6)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "dimension": ({"reduce": {"member": ("mean",)}}, "--reduce member=mean: no such dimension; there are "),
    "statistic": ({"reduce": {"number": ("median",)}}, "no statistic 'median'; there are mean, std"),
    "nothing": ({"reduce": {"number": ()}}, "--reduce number=: wanted one or more of mean, std"),
    "samples": ({"reduce": {"time": ("mean",)}}, "the samples lie along 'time'; take another --samples"),
    "no variable": ({"reduce": BOTH, "variables": ("p",)}, "none of p has 'number'"),
    "two": (
        {"reduce": {"number": ("mean",), "x": ("std",)}},
        "--reduce number=mean x=std: wanted one dimension",
    ),
    "bound": (
        {"reduce": BOTH, "max_error": {"t": 1.0}},
        "no variable 't' to keep within 1; there are t_mean",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_reduced_is_refused(tmp_path: Path, name: str) -> None:
    """Before anything is read."""
    asked, text = REFUSED[name]
    source = write(tmp_path / "a.nc", 0, 3, ORDERS[0], {})
    with pytest.raises(BadRequest) as caught:
        plan_conversion([source], tmp_path / "s.zarr", Options(**asked))
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_data_along_the_dimension_alone_is_not_lost_in_silence(tmp_path: Path) -> None:
    """It has no samples, so that it is carried as it is; and its dimension goes."""
    source = write(tmp_path / "a.nc", 0, 3, ORDERS[0], {})
    with xr.load_dataset(source) as dataset:
        dataset.assign(weight=("number", np.ones(6))).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(BadRequest, match=r"variable 'weight' has 'number' and no 'time'.*--variables"):
        plan_conversion([tmp_path / "b.nc"], tmp_path / "s.zarr", Options(reduce=BOTH))
    options = Options(reduce=BOTH, variables=("t",))
    assert plan_conversion([tmp_path / "b.nc"], tmp_path / "s.zarr", options).stacked == ("t_mean", "t_std")


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    """Nothing of the source is replaced but the variable itself."""
    source = write(tmp_path / "a.nc", 0, 3, ORDERS[0], {})
    with xr.load_dataset(source) as dataset:
        dataset.rename(p="t_mean").to_netcdf(tmp_path / "b.nc")
    plan = plan_conversion([tmp_path / "b.nc"], tmp_path / "s.zarr", Options(reduce=BOTH))
    assert plan.stacked == ("t_mean_2", "t_std", "t_mean")


@pytest.mark.parametrize(
    ("value", "non_finite", "message"),
    [
        (np.inf, None, "a.nc: variable 't': a member is infinite, wanted finite ones"),
        (np.nan, "refuse", "a.nc: variable 't': 1 of 6 members are missing at a place"),
        (np.inf, "allow", None),
        (np.nan, None, None),
    ],
)
@pytest.mark.parametrize("statistic", ["mean", "std"])
def test_members_that_are_refused_do_not_hide_in_a_statistic(
    tmp_path: Path, value: float, non_finite: Any, message: str | None, statistic: str
) -> None:
    """A deviation over an infinite member is NaN, and would pass for a missing value."""
    field = np.random.default_rng(0).random((3, 6, 4)).astype("f4")
    field[1, 2, 3] = value
    xr.Dataset({"t": (("time", "number", "x"), field)}).to_netcdf(tmp_path / "a.nc")
    options = Options(
        reduce={"number": (statistic,)}, samples="time", on={"non-finite": non_finite} if non_finite else {}
    )
    if message:
        with pytest.raises(BadData) as caught:
            convert([tmp_path / "a.nc"], tmp_path / "s.zarr", options)
        assert message in str(caught.value)
        return
    convert([tmp_path / "a.nc"], tmp_path / "s.zarr", options)
    with xr.open_dataset(tmp_path / "s.zarr", engine="maelio") as found, np.errstate(invalid="ignore"):
        members = xr.DataArray(field.astype("f8"), dims=("time", "number", "x"))
        wanted = members.mean("number") if statistic == "mean" else members.std("number")
        np.testing.assert_allclose(found[f"t_{statistic}"], wanted, rtol=1e-6)


def test_a_statistic_may_be_rounded(tmp_path: Path) -> None:
    """Each by a bound of its own; the bound is on the way from float64."""
    source = write(tmp_path / "a.nc", 0, 5, ORDERS[0], {})
    store = convert([source], tmp_path / "s.zarr", Options(reduce=BOTH, max_error={"t_std": 0.5}))
    with (
        xr.open_dataset(store.path, engine="maelio") as found,
        xr.open_dataset(source) as dataset,
    ):
        exact = dataset.t.astype("f8")
        np.testing.assert_allclose(found.t_std, exact.std("number"), rtol=0, atol=0.5)
        assert not (found.t_std % 0.5).any()
        np.testing.assert_allclose(found.t_mean, exact.mean("number"), rtol=1e-6)


def test_other_statistics_are_another_conversion(tmp_path: Path) -> None:
    """What was begun without is not continued."""
    source = write(tmp_path / "a.nc", 0, 3, ORDERS[0], {})
    asked: list[dict[str, Any]] = [{}, {"number": ("mean",)}, {"number": ("std",)}, {"x": ("mean",)}]
    digests = {
        plan_conversion([source], tmp_path / "s.zarr", Options(reduce=reduce)).digest for reduce in asked
    }
    assert len(digests) == len(asked)


def test_the_command_says_what_is_derived(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the plan and in what `inspect` shows."""
    source = write(tmp_path / "a.nc", 0, 3, ORDERS[0], {})
    command = ["convert", str(source), str(tmp_path / "s.zarr"), "--reduce", "number=mean, std"]
    assert main([*command, "--dry-run"]) == 0
    assert "derived: t_std is the std of t over 'number'" in capsys.readouterr().out
    assert main(command) == 0
    assert main(["inspect", str(tmp_path / "s.zarr")]) == 0
    assert "t_mean is the mean of t over 'number'\n" in capsys.readouterr().out
    assert open_store(tmp_path / "s.zarr").contents.options["reduce"] == {"number": ["mean", "std"]}

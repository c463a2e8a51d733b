"""Samples drawn from several dimensions: one flat axis in the store, the source's own dimensions in xarray."""

import itertools
import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import maelio
from maelio.cli import main
from maelio.codecs import CODECS
from maelio.converters import layout
from maelio.converters.compare import compare
from maelio.converters.convert import convert, plan_conversion
from maelio.converters.options import Options
from maelio.errors import BadData, BadRequest
from maelio.store import CONTAINERS, open_store
from tests.converters.grib_files import message, times, write_grib
from tests.converters.memory import traced_peak
from tests.converters.test_resume import contents, interrupted
from tests.converters.test_subset import STORAGES, opened, write

DIMENSIONS = ("time", "level", "latitude", "x")


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_store_of_any_product_gives_back_the_very_dataset(data: st.DataObject) -> None:
    """Any dimensions in any order, files, storage, part, format, codec, shards and blocks."""
    lengths = data.draw(st.lists(st.integers(4, 7), min_size=1, max_size=3), label="steps of each file")
    others = data.draw(st.lists(st.sampled_from(DIMENSIONS[1:]), min_size=1, unique=True))
    samples = ["time", *others] if len(lengths) > 1 else data.draw(st.permutations(["time", *others]))
    parts: dict[str, list[Any]] = {"level": [850, 250], "x": [2, 0]}
    select = {name: parts[name] for name in data.draw(st.sets(st.sampled_from([*parts])), label="part")}
    options = Options(
        samples=",".join(samples),
        select={name: ",".join(map(str, labels)) for name, labels in select.items()},
        format=data.draw(st.sampled_from(CONTAINERS)),
        codec=data.draw(st.sampled_from(CODECS)),
        shard_bytes=data.draw(st.integers(1, 2000), label="shard bytes"),
    )
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_BYTES", data.draw(st.integers(500, 2000), label="chunk bytes"))
        storage = data.draw(st.sampled_from(STORAGES))
        files = [
            write(Path(name) / f"{number}.nc", sum(lengths[:number]), length, "noleap", storage)
            for number, length in enumerate(lengths)
        ]
        store = convert(files, Path(name) / "s", options)
        wanted = opened(files).sel(select)
        with xr.open_dataset(store.path, engine="maelio") as found:
            xr.testing.assert_identical(found.load(), wanted)
        rest = [dimension for dimension in wanted.t.dims if dimension not in samples]
        flat = wanted.t.transpose(*samples, *rest).values
        array = next(name for name, stack in store.arrays.items() if "t" in stack.variables)
        assert store.arrays[array].dimensions[0] == "sample"
        assert store.contents.samples == {dimension: wanted.sizes[dimension] for dimension in samples}
        batches = maelio.stream(store, batch_size=4, shuffle=False, threads=2)
        streamed = np.concatenate([batch[array].numpy() for batch in batches])[:, 0]
        np.testing.assert_array_equal(streamed, flat.reshape(-1, *flat.shape[len(samples) :]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "a.nc", 0, 9, "standard", {"zlib": True, "chunksizes": (3, 5, 4, 3)})


def test_plain_zarr_sees_one_flat_axis(source: Path, tmp_path: Path) -> None:
    """Variables without all of the dimensions are carried along as they are."""
    store = convert([source], tmp_path / "s.zarr", Options(samples="time,x"))
    with xr.open_dataset(source) as wanted, xr.open_zarr(store.path, chunks=None) as plain:
        assert plain.fields.dims == ("sample", "variable", "level", "latitude")
        flat = wanted.t.transpose("time", "x", "level", "latitude").values.reshape(27, 5, 4)
        np.testing.assert_array_equal(plain.fields.values[:, 0], flat)
        xr.testing.assert_equal(plain.sp, wanted.sp)


def test_one_time_is_read_from_its_own_chunks(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening reads no field, and shards of other times may be damaged."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 12 * 5 * 4)
    store = convert([source], tmp_path / "s.zarr", Options(samples="time,latitude,x", shard_bytes=12 * 5 * 4))
    assert store.arrays["profiles"].shards == 9
    for shard in range(9):
        if shard != 4:
            (store.path / store.arrays["profiles"].shard_key(shard)).write_bytes(b"damaged")
    with xr.open_dataset(source) as wanted, xr.open_dataset(store.path, engine="maelio") as found:
        assert not found.t.variable._in_memory
        xr.testing.assert_identical(
            found.t.isel(time=4, x=slice(None, None, -2)).load(),
            wanted.t.isel(time=4, x=slice(None, None, -2)).load(),
        )
        with pytest.raises(Exception, match=r"checksum|crc|range|size"):
            found.t.isel(time=5).load()


PARTS: list[dict[str, Any]] = [
    {"time": 3},
    {"time": slice(7, 1, -3), "latitude": 1},
    {"x": [2, 0], "time": [8, 0, 3]},
    {"x": 1, "level": slice(1, 3)},
    {"time": slice(2, 2)},
]


@pytest.mark.parametrize("form", CONTAINERS)
@pytest.mark.parametrize("part", PARTS, ids=str)
def test_any_part_is_read_as_from_the_source(
    source: Path, tmp_path: Path, form: Any, part: dict[str, Any]
) -> None:
    """Numbers, slices backwards, lists, nothing."""
    store = convert([source], tmp_path / "s", Options(samples="time,x", format=form, shard_bytes=700))
    with xr.open_dataset(source) as wanted, xr.open_dataset(store.path, engine="maelio") as found:
        xr.testing.assert_identical(found.isel(part).load(), wanted.isel(part).load())


def test_chunks_follow_the_store(source: Path, tmp_path: Path) -> None:
    """`chunks={}` gives dask whole blocks."""
    store = convert([source], tmp_path / "s.zarr", Options(samples="time,latitude,x"))
    with xr.open_dataset(store.path, engine="maelio", chunks={}) as found:
        assert found.t.chunks == ((9,), (5,), (4,), (3,))


def test_errors_keep_to_their_bounds(source: Path, tmp_path: Path) -> None:
    """Also where the file has another order than the store."""
    for number, samples in enumerate(itertools.permutations(("time", "level", "x"), 2)):
        options = Options(samples=",".join(samples), max_error={"t": 0.01}, shard_bytes=200)
        store = convert([source], tmp_path / f"{number}.zarr", options).path
        assert compare(source, store, within={"t": 0.01}) == []
        assert compare(source, store) != []


def test_an_ensemble_is_drawn_from_times_and_members(tmp_path: Path) -> None:
    """Each field of each member is a sample."""
    keys: dict[str, Any] = {"productDefinitionTemplateNumber": 1, "numberOfForecastsInEnsemble": 3}
    messages = [message(**keys, number=number, **time) for time in times(4) for number in range(3)]
    path = write_grib(tmp_path / "a.grib", messages)
    plain = convert([path], tmp_path / "plain.zarr")
    store = convert([path], tmp_path / "s.zarr", Options(samples="time,number", shard_bytes=1))
    assert store.contents.samples == {"time": 4, "number": 3}
    assert compare(plain.path, store.path) == []


def test_a_stopped_conversion_goes_on_to_the_same_bytes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regions begin and end within a time."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 7 * 48)
    options = Options(samples="time,level", shard_bytes=7 * 48)
    interrupted(source, tmp_path / "s.zarr", 3, options)
    convert([source], tmp_path / "s.zarr", options)
    convert([source], tmp_path / "whole.zarr", options)
    assert contents(tmp_path / "s.zarr") == contents(tmp_path / "whole.zarr")


def test_a_value_that_is_refused_is_found(tmp_path: Path) -> None:
    """By its place in the file, whatever part is taken."""
    path = write(tmp_path / "a.nc", 0, 9, "standard", {})
    with xr.open_dataset(path) as dataset:
        dataset = dataset.load()
    dataset.t[5, 3, 1, 2] = np.inf
    dataset.to_netcdf(tmp_path / "b.nc")
    options = Options(samples="time,level,x", select={"level": "500,250"})
    with pytest.raises(BadData, match=r"b\.nc: variable 't' is inf at time 5, level 3, x 2, wanted a finite"):
        convert([tmp_path / "b.nc"], tmp_path / "s.zarr", options)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ("time,time", "'time,time': wanted names with commas between, each once"),
        ("time,", "'time,': wanted names"),
        ("time,cell", "no dimension 'cell'; there are time, level, latitude, x"),
    ],
)
def test_what_cannot_be_samples_is_refused(source: Path, tmp_path: Path, samples: str, says: str) -> None:
    """Before anything is written."""
    with pytest.raises(BadRequest, match=says):
        plan_conversion([source], tmp_path / "s.zarr", Options(samples=samples))


def test_a_window_over_a_product_is_refused(source: Path, tmp_path: Path) -> None:
    """The sample behind a cell is the next cell and no later time."""
    store = convert([source], tmp_path / "s.zarr", Options(samples="time,x"))
    with pytest.raises(BadRequest, match=r"window=\(-1, 0\): samples of .* are drawn along 'time', 'x'"):
        maelio.stream(store, batch_size=2, window=(-1, 0))


def test_another_order_is_another_conversion(source: Path, tmp_path: Path) -> None:
    """The shapes may be equal."""
    plans = [
        plan_conversion([source], tmp_path / "s", Options(samples=names)) for names in ("time,x", "x,time")
    ]
    assert plans[0].digest != plans[1].digest


def test_a_product_keeps_to_its_memory(tmp_path: Path) -> None:
    """Regions begin and end within a time, whose chunks are large."""
    field = np.random.default_rng(0).normal(size=(128, 128, 128)).astype("f4")
    dataset = xr.Dataset({"t": (("time", "y", "x"), field)}, {"time": xr.date_range("2000", periods=128)})
    encoding = {"t": {"zlib": True, "shuffle": True, "chunksizes": (4, 128, 128)}}
    dataset.to_netcdf(tmp_path / "a.nc", encoding=encoding)
    for number, bounds in enumerate(({}, {"t": 0.01})):
        options = Options(samples="time,y,x", memory=11 * 2**20, max_error=bounds)
        plan = plan_conversion([tmp_path / "a.nc"], tmp_path / "warm-up", options)
        assert plan.peak_bytes <= options.memory
        run = partial(convert, [tmp_path / "a.nc"], tmp_path / f"{number}.zarr", options)
        assert traced_peak(run) <= plan.peak_bytes + 2**20


def test_a_store_from_before_products_opens(source: Path, tmp_path: Path) -> None:
    """Its metadata say nothing of them."""
    store = convert([source], tmp_path / "s.zarr")
    root = json.loads((store.path / "zarr.json").read_bytes())
    assert root["attributes"]["maelio"].pop("samples") == {}
    (store.path / "zarr.json").write_text(json.dumps(root))
    assert open_store(store.path).sizes == {"time": 9}
    assert compare(source, store.path) == []


def test_the_command_draws_from_a_product(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dry-run` and `inspect` say what a sample is; `compare` agrees."""
    store = str(tmp_path / "s.zarr")
    assert main(["convert", str(source), store, "--samples", "time,x", "--dry-run"]) == 0
    assert "27 samples along 'time', 'x' (9 x 3)" in capsys.readouterr().out
    assert main(["convert", str(source), store, "--samples", "time, x"]) == 0
    assert main(["inspect", store]) == 0
    assert "27 samples along 'time', 'x' (9 x 3)" in capsys.readouterr().out
    assert main(["compare", str(source), store]) == 0

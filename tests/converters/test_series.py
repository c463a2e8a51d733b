"""Samples that are whole series: files that follow each other in time are read once, slab by slab, into every shard."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import BZ2

import maelio
from maelio.cli import main
from maelio.codecs import CODECS
from maelio.converters import layout, slabs
from maelio.converters.compare import compare
from maelio.converters.convert import Progress, convert, convert_part, plan_conversion
from maelio.converters.options import Options
from maelio.converters.share import Share
from maelio.converters.verify import verify
from maelio.errors import BadData, BadRequest, NotFound
from maelio.packed import Packed
from maelio.store import open_store, unfinished
from tests.converters.grib_files import cube, write_grib
from tests.converters.memory import traced_peak
from tests.converters.test_resume import Interruption, contents
from tests.converters.test_subset import STORAGES, opened, write

SPACE = ("level", "latitude", "x")
SMALL = {"CHUNK_BYTES": 400, "SMALL_ROW": 300, "SERIES_BYTES": 1600}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small fields be laid out as large ones are."""
    lay_out_small(monkeypatch)


def lay_out_small(patch: pytest.MonkeyPatch) -> None:
    for name, nbytes in SMALL.items():
        patch.setattr(layout, name, nbytes)
    patch.setattr(slabs, "READ_VALUES", 50)
    patch.setattr(slabs, "_HEADERS", 64)


def files_of(folder: Path, lengths: list[int], storage: dict[str, Any]) -> list[Path]:
    return [
        write(folder / f"{number}.nc", sum(lengths[:number]), length, "noleap", storage)
        for number, length in enumerate(lengths)
    ]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_store_of_series_gives_back_the_very_dataset(data: st.DataObject) -> None:
    """Any files, storage, part, samples, codec, shards and memory; plain zarr and the stream read the same."""
    lengths = data.draw(st.lists(st.integers(4, 9), min_size=1, max_size=3), label="steps of each file")
    samples = data.draw(st.lists(st.sampled_from(SPACE), min_size=1, unique=True), label="samples")
    parts: dict[str, Any] = {"level": [850, 250], "x": [2, 0], "time": slice("2000-02-27", "2000-02-28")}
    texts = {"level": "850,250", "x": "2,0", "time": "2000-02-27:2000-02-28"}
    taken = data.draw(st.sets(st.sampled_from([*parts])), label="part")
    options = Options(
        samples=",".join(samples),
        select={name: texts[name] for name in taken},
        codec=data.draw(st.sampled_from(CODECS)),
        shard_bytes=data.draw(st.integers(1, 3000), label="shard bytes"),
        memory=data.draw(st.integers(6_000, 60_000), label="memory"),
        threads=3,
    )
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        lay_out_small(patch)
        files = files_of(Path(name), lengths, data.draw(st.sampled_from(STORAGES), label="storage"))
        try:
            plan = plan_conversion(files, Path(name) / "s", options)
        except BadRequest as error:
            if "raise --memory" not in str(error):
                raise
            return
        store = convert(files, Path(name) / "s", options)
        wanted = opened(files).sel({name: parts[name] for name in taken})
        with xr.open_dataset(store.path, engine="maelio") as found:
            xr.testing.assert_identical(found.load(), wanted)
        assert verify(store.path) == []
        array = next(array for array in store.arrays.values() if "t" in array.variables)
        assert array == plan.series[array.name].array
        series = wanted.t.transpose(*samples, "time", ...).values
        series = series.reshape(-1, *series.shape[len(samples) :])
        plain = zarr.open_group(store.path, mode="r")[array.name]
        np.testing.assert_array_equal(np.asarray(plain)[:, 0], series)
        batches = maelio.stream(store, batch_size=4, shuffle=False, threads=2)
        streamed = np.concatenate([batch[array.name].numpy() for batch in batches])[:, 0]
        np.testing.assert_array_equal(streamed, series)
        statistics = store.contents.stacks[array.name].statistics["t"]
        np.testing.assert_allclose(statistics.mean, series.mean(dtype="f8"), rtol=1e-6)
        assert (statistics.count, statistics.min) == ((series.size,), (float(series.min()),))


MANY = Options(samples="latitude,x", shard_bytes=3200, memory=6400, threads=2)


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """26 steps in three files, chunks of four: those of the second and third begin within a slab."""
    return files_of(tmp_path, [9, 10, 7], {"zlib": True, "shuffle": True, "chunksizes": (4, 2, 2, 3)})


@pytest.mark.usefixtures("small")
def test_the_tests_cut_what_they_say(tmp_path: Path, sources: list[Path]) -> None:
    """Several slabs, several shards, several blocks in a shard, steps that wait."""
    plan = plan_conversion(sources, tmp_path / "s", MANY)
    (series,) = plan.series.values()
    assert series.array.rows_per_shard == 2 * series.array.rows_per_chunk
    assert (len(series.slabs), series.waiting, series.array.shards) == (7, 3, 2)
    assert "one pass in 7 slab(s) of up to 4 steps of 'time'" in plan.describe()


@pytest.mark.usefixtures("small")
def test_each_source_chunk_is_decoded_once(
    tmp_path: Path, sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that hold steps of two slabs."""
    decoded = []
    decode = Packed.decode

    def counted(packed: Packed, out: Any) -> None:
        decoded.append((os.readlink(f"/proc/self/fd/{packed.fd}"), packed.offset))
        decode(packed, out)

    monkeypatch.setattr(Packed, "decode", counted)
    convert(sources, tmp_path / "s.zarr", MANY)
    assert len(decoded) == len(set(decoded)) == (3 + 3 + 2) * 3 * 2


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("done", [1, 2, 5, 7])
def test_stopped_after_any_slab_it_goes_on_to_the_same_bytes(
    tmp_path: Path, sources: list[Path], done: int
) -> None:
    """What a slab left half-made in the shards is cut off."""
    target, whole = tmp_path / "s.zarr", tmp_path / "whole.zarr"
    with pytest.raises(KeyboardInterrupt):
        convert(sources, target, MANY, progress=Interruption(done))
    for shard in (unfinished(target) / "fields").rglob("0"):
        if shard.is_file():
            shard.write_bytes(shard.read_bytes() + b"half a slab")
    seen: list[Progress] = []
    convert(sources, target, MANY, progress=seen.append)
    assert [seen[0].resumed_regions, seen[-1].regions_done] == [done, 7]
    assert seen[-1].bytes_done == seen[-1].bytes
    convert(sources, whole, MANY)
    assert contents(target) == contents(whole)
    assert compare(sources, target) == []


def shards_of(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "fields" / "c").rglob("*") if path.is_file())


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "nothing": (lambda folder: None, 3),
    "the last line is torn": (lambda folder: os.truncate(log(folder), log(folder).stat().st_size - 9), 2),
    "a shard is gone": (lambda folder: shards_of(folder)[1].unlink(), 0),
    "a shard is short": (
        lambda folder: os.truncate(shards_of(folder)[1], shards_of(folder)[1].stat().st_size - 1),
        2,
    ),
    "a shard is damaged at its beginning": (lambda folder: flip(shards_of(folder)[1], 20), 0),
    "a shard is damaged at its end": (lambda folder: flip(shards_of(folder)[1], -1), 2),
    "the log is gone": (lambda folder: log(folder).unlink(), 0),
}


def log(folder: Path) -> Path:
    return folder / "slabs.jsonl"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", DAMAGES)
def test_the_log_is_believed_as_far_as_the_shards_bear_it_out(
    tmp_path: Path, sources: list[Path], name: str
) -> None:
    """From there on everything is made again, to the same bytes."""
    target, whole = tmp_path / "s.zarr", tmp_path / "whole.zarr"
    damage, believed = DAMAGES[name]
    with pytest.raises(KeyboardInterrupt):
        convert(sources, target, MANY, progress=Interruption(3))
    damage(unfinished(target))
    seen: list[Progress] = []
    convert(sources, target, MANY, progress=seen.append)
    assert seen[0].resumed_regions == believed
    convert(sources, whole, MANY)
    assert contents(target) == contents(whole)


SLOWLY = """
import sys, time
from maelio.converters import layout, slabs
from maelio.converters.convert import convert
from maelio.converters.options import Options

layout.CHUNK_BYTES, layout.SMALL_ROW, layout.SERIES_BYTES, slabs._HEADERS = 400, 300, 1600, 64

def slowly(progress):
    if progress.regions_done >= 2:
        print("ready", flush=True)
        time.sleep(60)

convert(sys.argv[2:], sys.argv[1], Options(samples="latitude,x", shard_bytes=3200, memory=6400, threads=2), progress=slowly)
"""


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_conversion_goes_on_to_the_same_bytes(
    tmp_path: Path, sources: list[Path], how: signal.Signals
) -> None:
    """A real process, and nothing opens before the second one has ended."""
    target, whole = tmp_path / "s.zarr", tmp_path / "whole.zarr"
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, target, *sources], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == b"ready\n"
        process.send_signal(how)
    assert process.wait(timeout=30) != 0
    with pytest.raises(NotFound, match="was not finished"):
        open_store(target)
    seen: list[Progress] = []
    convert(sources, target, MANY, progress=seen.append)
    assert seen[0].resumed_regions >= 2
    convert(sources, whole, MANY)
    assert contents(target) == contents(whole)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threads", [1, 5])
def test_the_bytes_do_not_depend_on_the_threads(tmp_path: Path, sources: list[Path], threads: int) -> None:
    """Statistics are joined in one order."""
    for name, count in (("s", 2), ("t", threads)):
        options = Options(samples="latitude,x", shard_bytes=3200, memory=7400, threads=count)
        convert(sources, tmp_path / name, options)
    assert contents(tmp_path / "s") == contents(tmp_path / "t")


def test_packed_missing_and_rounded_values_are_as_in_regions(tmp_path: Path) -> None:
    """Each file has its own scale; statistics by level know of what is missing."""
    random = np.random.default_rng(0)
    times = xr.date_range("2000-01-01", periods=20, freq="6h", use_cftime=False)
    files = []
    for number, scale in enumerate((0.5, 0.25)):
        packed = random.integers(-100, 100, (10, 3, 4, 5)).astype("f4") * scale
        packed[3, 1, 2, :] = np.nan
        dataset = xr.Dataset(
            {
                "t": (("time", "level", "y", "x"), packed),
                "u": (("time", "level", "y", "x"), random.normal(size=(10, 3, 4, 5))),
                "height": (("y", "x"), np.arange(20.0).reshape(4, 5)),
            },
            coords={
                "time": times[10 * number :][:10],
                "level": ("level", [850, 500, 250], {"positive": "down"}),
            },
        )
        files.append(tmp_path / f"{number}.nc")
        dataset.to_netcdf(
            files[-1],
            encoding={
                "t": {
                    "dtype": "i2",
                    "scale_factor": scale,
                    "_FillValue": -999,
                    "zlib": True,
                    "chunksizes": (3, 2, 2, 5),
                },
                "time": {"units": "hours since 2000-01-01"},
            },
        )
    bounds = {"u": 0.01}
    plain = convert(files, tmp_path / "plain.zarr", Options(max_error=bounds))
    store = convert(files, tmp_path / "s.zarr", Options(samples="y,x", max_error=bounds, memory=8 * 2**20))
    assert compare(plain.path, store.path) == []
    assert {array.dimensions[2:] for array in store.arrays.values()} == {("time", "level")}
    for name in ("t", "u"):
        one, other = (
            next(stack.statistics[name] for stack in made.contents.stacks.values() if name in stack.variables)
            for made in (plain, store)
        )
        assert (one.count, one.missing, one.min, one.max) == (
            other.count,
            other.missing,
            other.min,
            other.max,
        )
        np.testing.assert_allclose((one.mean, one.std), (other.mean, other.std), rtol=1e-9)


@pytest.mark.usefixtures("small")
def test_statistics_of_an_ensemble_are_series(tmp_path: Path) -> None:
    """Made on the way into the slab; statistics over time itself have no series left."""
    values = np.random.default_rng(0).normal(size=(12, 6, 4, 5)).astype("f4")
    times = xr.date_range("2000-01-01", periods=12, freq="6h", use_cftime=False)
    dataset = xr.Dataset({"t": (("time", "number", "y", "x"), values)}, {"time": times})
    source = tmp_path / "a.nc"
    dataset.to_netcdf(source, encoding={"t": {"zlib": True, "chunksizes": (3, 6, 2, 5)}})
    ensemble = {"number": ("mean", "std")}
    plain = convert([source], tmp_path / "plain.zarr", Options(reduce=ensemble))
    options = Options(samples="y,x", reduce=ensemble, memory=30_000, shard_bytes=300)
    store = convert([source], tmp_path / "s.zarr", options)
    assert store.arrays["profiles"].shape == (20, 2, 12)
    assert compare(plain.path, store.path) == []
    mean = convert([source], tmp_path / "t.zarr", Options(samples="y,x", reduce={"time": ("mean",)}))
    assert mean.arrays["profiles"].dimensions == ("sample", "variable", "number")


@pytest.mark.usefixtures("small")
def test_a_value_that_is_refused_is_found(tmp_path: Path, sources: list[Path]) -> None:
    """By its place in its file; nothing is left behind when it was in the first slab."""
    with netCDF4.Dataset(sources[1], "a") as file:
        file["t"][3, 2, 1, 0] = np.inf
    options = Options(samples="latitude,x", select={"x": "2,0"}, memory=8000)
    with pytest.raises(
        BadData, match=r"1\.nc: variable 't' is inf at time 3, latitude 1, x 0, wanted a finite"
    ):
        convert(sources, tmp_path / "s.zarr", options)


def test_messages_are_joined_along_time(tmp_path: Path) -> None:
    """GRIB files grow in time, whatever samples are drawn from."""
    path = write_grib(tmp_path / "a.grib", cube())
    plain = convert([path], tmp_path / "plain.zarr")
    store = convert([path], tmp_path / "s.zarr", Options(samples="latitude,longitude"))
    assert store.arrays["fields"].dimensions == ("sample", "variable", "time", "isobaricInhPa")
    assert compare(plain.path, store.path) == []


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "encoding",
    [
        {"zarr_format": 2, "encoding": {"t": {"chunks": (6, 5, 4, 3)}}},
        {"zarr_format": 3, "encoding": {"t": {"chunks": (3, 2, 4, 3), "shards": (6, 4, 4, 6)}}},
        {"zarr_format": 2, "encoding": {"t": {"chunks": (6, 5, 4, 3), "compressors": BZ2()}}},
    ],
    ids=["version 2", "shards", "by zarr-python"],
)
def test_zarr_sources_become_series(
    tmp_path: Path, sources: list[Path], monkeypatch: pytest.MonkeyPatch, encoding: dict[str, Any]
) -> None:
    """Each chunk is decoded once, by whomever; one that is not there is the fill value in every series."""
    whole = opened(sources)
    whole.time.encoding.clear()
    whole.to_zarr(tmp_path / "a.zarr", consolidated=False, **encoding)
    chunk = "c/1/0/0/0" if encoding["zarr_format"] == 3 else "1.0.0.0"
    (tmp_path / "a.zarr" / "t" / chunk).unlink()
    options = replace(MANY, memory=12_000)
    plan = plan_conversion([tmp_path / "a.zarr"], tmp_path / "s", options)
    assert len(plan.series["fields"].slabs) > 1
    decoded = []
    decode = Packed.decode

    def counted(packed: Packed, out: Any) -> None:
        decoded.append(packed.name)
        decode(packed, out)

    monkeypatch.setattr(Packed, "decode", counted)
    store = convert([tmp_path / "a.zarr"], tmp_path / "s.zarr", options)
    assert len(decoded) == len(set(decoded))
    assert bool(plan.slow()) == (not decoded)
    with (
        xr.open_dataset(store.path, engine="maelio") as found,
        xr.open_zarr(tmp_path / "a.zarr", consolidated=False) as expected,
    ):
        assert expected.t.isnull().any()
        np.testing.assert_array_equal(found.t.values, expected.t.values)


def test_files_that_do_not_follow_in_time_are_joined_along_their_samples(tmp_path: Path) -> None:
    """Stations in files of their own: each has all times."""
    files = []
    for number in range(3):
        dataset = xr.Dataset(
            {"t": (("station", "time"), np.arange(8.0).reshape(2, 4) + 8 * number)},
            {"time": xr.date_range("2000-01-01", periods=4), "station": [2 * number, 2 * number + 1]},
        )
        files.append(tmp_path / f"{number}.nc")
        dataset.to_netcdf(files[-1])
    store = convert(files, tmp_path / "s.zarr", Options(samples="station"))
    assert store.arrays["profiles"].dimensions == ("station", "variable", "time")
    with xr.open_dataset(store.path, engine="maelio") as found:
        np.testing.assert_array_equal(found.t.values.ravel(), np.arange(24))


def test_what_cannot_be_series_is_refused(tmp_path: Path, sources: list[Path]) -> None:
    """One line each, before anything is written."""
    refused = {
        "wanted --samples time,x": Options(samples="x,time"),
        "which only a store of --format zarr takes; make it, and of it one of --format tar": Options(
            samples="x", format="tar"
        ),
        "one thread needs .* for time 0 to 6 of 'fields', which source chunks hold together": Options(
            samples="x", memory=5000
        ),
    }
    for message, options in refused.items():
        with pytest.raises(BadRequest, match=message):
            plan_conversion(sources, tmp_path / "s.zarr", options)
    assert convert(sources[:1], tmp_path / "s", Options(samples="x", format="tar")).samples == 3
    with pytest.raises(BadRequest, match="dask 'local:2': series are made by one process"):
        convert(sources, tmp_path / "s.zarr", Options(samples="x", dask="local:2"))
    with pytest.raises(BadRequest, match="part 1/2: series are made by one process"):
        convert_part(sources, tmp_path / "s.zarr", Share(1, 2), Options(samples="x"))


@pytest.mark.parametrize("container", ["tar", "tfrecord"])
def test_series_of_several_files_reach_other_containers_by_a_store(
    tmp_path: Path, sources: list[Path], container: Any
) -> None:
    """As the refusal says; the values are those of the files."""
    between = convert(sources, tmp_path / "s.zarr", Options(samples="x")).path
    convert(between, tmp_path / "s", Options(samples="x", format=container))
    assert compare(sources, tmp_path / "s") == []


def test_series_keep_to_their_memory(tmp_path: Path) -> None:
    """A slab, and for every thread what it reads through or writes through; packed values pass a second array."""
    files = []
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 999, (50, 100, 120)).astype("f4")
        times = xr.date_range("2000-01-01", periods=150, freq="h")[50 * number :][:50]
        dataset = xr.Dataset({"t": (("time", "y", "x"), values)}, {"time": times})
        files.append(tmp_path / f"{number}.nc")
        packed = {
            "dtype": "i2",
            "scale_factor": 0.1,
            "_FillValue": -1,
            "zlib": True,
            "chunksizes": (12, 50, 60),
        }
        dataset.to_netcdf(files[-1], encoding={"t": packed, "time": {"units": "hours since 2000-01-01"}})
    options = Options(samples="y,x", memory=7 * 2**20, threads=2, shard_bytes=2**20)
    plan = plan_conversion(files, tmp_path / "warm-up", options)
    assert plan.peak_bytes <= options.memory
    assert len(plan.series["profiles"].slabs) > 1
    peak = traced_peak(lambda: convert(files, tmp_path / "s.zarr", options))
    assert peak <= plan.peak_bytes + 2**20  # and the plan itself
    assert compare(files, tmp_path / "s.zarr") == []


@pytest.mark.usefixtures("small")
def test_the_command_makes_series(
    tmp_path: Path, sources: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """`inspect` shows pieces of series, `verify` and `compare` agree."""
    store, files = str(tmp_path / "s.zarr"), [*map(str, sources)]
    arguments = ["--samples", "latitude,x", "--memory", "6400", "--shard-size", "3200"]
    assert main(["convert", *files, store, *arguments]) == 0
    assert main(["inspect", store]) == 0
    assert "chunk (3, 1, 4, 5)" in capsys.readouterr().out
    assert main(["verify", store]) == 0
    assert main(["compare", *files, store]) == 0

"""What was never converted streams as what was: the same batches, in the same order, to the same ranks."""

import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numcodecs
import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ZstdCodec

import maelio
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadData, BadRequest, MaelioError, NotFound
from maelio.loaders import inplace
from maelio.loaders.device import Batch
from maelio.loaders.stream import Stream
from maelio.store import Store
from tests.converters.netcdf_files import damage, write_netcdf
from tests.test_formats import LAYOUTS, small

FORMS = ("netcdf3", "netcdf4", "files", "zarr2", "zarr3", "sharded")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """20 steps of two variables on 3 x 4 points, one of them packed, with a value missing; chunks of 4 steps."""
    return write(tmp_path, "netcdf4", 20, ("f4", "i2"), chunk=4)


def write(folder: Path, form: str, samples: int, dtypes: Sequence[str], chunk: int) -> Path:
    """Random fields `v0`, `v1`, ... in a form; integers are packed. Of several files, the pattern."""
    random = np.random.default_rng(samples)
    fields = {f"v{n}": (random.random((samples, 3, 4)) * 100).astype(dtype) for n, dtype in enumerate(dtypes)}
    packing = {"scale_factor": np.float32(0.5), "add_offset": np.float32(3), "_FillValue": np.int16(7)}
    for values in fields.values():
        if values.dtype.kind == "i":
            values.ravel()[::5] = 7
    attributes: Any = {name: packing for name, values in fields.items() if values.dtype.kind == "i"}
    if form == "netcdf3":
        return write_netcdf(folder / "a.nc", fields, kind="NETCDF3_64BIT_OFFSET", attributes=attributes)
    storage: Any = {"chunksizes": (min(chunk, samples), 3, 2), "zlib": True, "attributes": attributes}
    if form == "files" and samples > 1:
        for name, first, last in (("b", 0, samples // 2), ("a", samples // 2, samples)):
            some = {key: values[first:last] for key, values in fields.items()}
            few: Any = {**storage, "chunksizes": (min(chunk, last - first), 3, 2)}
            write_netcdf(folder / f"{name}.nc", some, first=first, **few)
        return folder / "*.nc"
    path = write_netcdf(folder / "a.nc", fields, **storage)
    if not form.startswith(("zarr", "sharded")):
        return path
    with xr.open_dataset(path, decode_cf=False) as raw:
        for variable in raw.variables.values():
            variable.encoding.clear()
        chunks: Any = {name: {"chunks": (chunk, 3, 2)} for name in fields}
        if form == "sharded":
            chunks = {name: {**of_name, "shards": (2 * chunk, 3, 4)} for name, of_name in chunks.items()}
        raw.to_zarr(
            folder / "a.zarr", zarr_format=2 if form == "zarr2" else 3, consolidated=False, encoding=chunks
        )
    return folder / "a.zarr"


def bytes_of(batches: Iterable[Batch]) -> list[dict[str, bytes]]:
    return [
        {
            f"{name} {tuple(values.shape)} {values.dtype}": values.numpy().tobytes()
            for name, values in batch.items()
        }
        for batch in batches
    ]


def _opened(store: Store, **order: Any) -> Stream | str:
    """Or the first word of why not."""
    try:
        return maelio.stream(store, **order)
    except BadRequest as error:
        return str(error).split()[0]


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_in_place_is_streamed_as_the_converted_store(data: st.DataObject) -> None:
    """Bit for bit: whatever the form, its chunks, the order, the ranks, and what is delivered."""
    samples = data.draw(st.integers(1, 25))
    form, cut = data.draw(st.sampled_from(FORMS)), data.draw(st.sampled_from([*LAYOUTS]))
    dtypes = data.draw(st.lists(st.sampled_from(["f4", "f8", "i2"]), min_size=1, max_size=4))
    chunk = data.draw(st.integers(1, 6))
    order: dict[str, Any] = {
        "batch_size": 2 * data.draw(st.integers(1, 5)),
        "shuffle": data.draw(st.sampled_from([True, False, "global", "window"])),
        "seed": 3,
        "window": data.draw(st.sampled_from([(0,), (-1, 0), (0, 2)])),
        "missing": data.draw(st.sampled_from(["keep", "mask", -1])),
        "tail": data.draw(st.sampled_from(["short", "drop", "pad"])),
        "crop": data.draw(st.sampled_from([None, {"latitude": 2}, {"longitude": slice(1, 3)}])),
        "variables": data.draw(st.sampled_from([None, ["v0"], [f"v{len(dtypes) - 1}"]])),
        "threads": data.draw(st.integers(1, 3)),
    }
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        small(patch, cut)
        path = write(Path(folder), form, samples, dtypes, chunk)
        store = convert([path], Path(folder) / "store")
        foreign = maelio.in_place(path, "time")
        for rank in range(2):
            wanted, found = (_opened(each, rank=rank, world=2, **order) for each in (store, foreign))
            if isinstance(wanted, str) or isinstance(found, str):  # too few samples
                assert wanted == found
                return
            assert bytes_of(found) == bytes_of(wanted)
            assert (found.variables, found.samples) == (wanted.variables, wanted.samples)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_known_by_its_path(tmp_path: Path, form: str) -> None:
    """As text, as a path, and in a list; each says that it is slower and what to do about it."""
    path = write(tmp_path, form, 9, ["f4"], chunk=2)
    wanted = bytes_of(maelio.stream(convert([path], tmp_path / "store"), batch_size=4))
    for asked in (path, str(path), [path]):
        assert bytes_of(maelio.stream(asked, batch_size=4, samples="time")) == wanted


def test_one_line_says_that_it_is_slower(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And the command that ends that."""
    maelio.stream(source, batch_size=4)
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.message == (
        f"{source}: read in place, slower than a store; `maelio convert {source} STORE --samples time`"
    )


def test_chunks_of_many_steps_are_decoded_once_where_memory_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 20 samples in chunks of 10, two blocks are read, though a sample is a block of the store."""
    small(monkeypatch, "samples")
    path = write(tmp_path, "netcdf4", 20, ["f4"], chunk=10)
    foreign = maelio.in_place(path)
    assert foreign.blocks == {"fields": 10}
    assert "10 samples are decoded together" in caplog.text
    asked = []
    patiently = inplace.InPlace._patiently

    def count(rows: inplace.InPlace, which: range, *rest: Any) -> None:
        asked.append(which)
        patiently(rows, which, *rest)

    monkeypatch.setattr(inplace.InPlace, "_patiently", count)
    batches = maelio.stream(foreign, batch_size=4, shuffle="global")
    assert bytes_of(batches)
    assert bytes_of(batches)
    assert sorted(rows.start for rows in asked) == [0, 10]


def test_a_run_goes_on_in_another_process(source: Path, tmp_path: Path) -> None:
    """The stream goes there as it is; the state fits as long as the files are what they were."""
    batches = maelio.stream(source, batch_size=6)
    iterator = iter(batches)
    first = bytes_of([next(iterator)])
    state = batches.state_dict()
    rest = bytes_of(iterator)
    after: Any = pickle.loads(pickle.dumps(batches))
    after.load_state_dict(state)
    assert bytes_of(after) == rest
    assert len(first + rest) == 4
    other = maelio.stream(write(tmp_path / ".", "netcdf3", 20, ["f4"], chunk=1), batch_size=6)
    with pytest.raises(BadRequest, match="store="):
        other.load_state_dict(state)


WORKERS = """
import sys
from torch.utils.data import DataLoader
import maelio

def bytes_of(batches):
    return [{name: values.numpy().tobytes() for name, values in batch.items()} for batch in batches]

if __name__ == "__main__":
    batches = maelio.stream(sys.argv[1], batch_size=6)
    alone = bytes_of(batches)
    batches.set_epoch(0)
    loader = DataLoader(batches, batch_size=None, num_workers=2, multiprocessing_context=sys.argv[2])
    assert bytes_of(loader) == alone
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["netcdf4", "zarr3"])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_read_in_place(tmp_path: Path, form: str, start: str) -> None:
    """Each opens the files for itself; not in a fork of this process, which ran flows of Prefect."""
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    source = write(tmp_path, form, 20, ["f4"], chunk=4)
    subprocess.run([sys.executable, script, source, start], check=True, timeout=120)


@pytest.mark.parametrize(
    ("version", "encoding"),
    [
        (2, {"compressors": None}),
        (2, {"compressors": numcodecs.Zlib(1)}),
        (2, {"compressors": numcodecs.Blosc("zstd"), "filters": [numcodecs.Delta("f4")]}),
        (3, {"compressors": None}),
        (3, {"compressors": GzipCodec(level=1)}),
        (3, {"compressors": BloscCodec(cname="lz4"), "chunks": (2, 3, 4), "shards": (6, 3, 4)}),
        (3, {"compressors": ZstdCodec(), "serializer": BytesCodec(endian="big")}),
    ],
)
def test_zarr_of_any_codec_is_read(tmp_path: Path, version: Literal[2, 3], encoding: Any) -> None:
    """As it is read by zarr-python."""
    with xr.open_dataset(write(tmp_path, "netcdf4", 9, ["f4"], chunk=2), decode_cf=False) as raw:
        for variable in raw.variables.values():
            variable.encoding.clear()
        raw.to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False, encoding={"v0": encoding})
    (batch,) = maelio.stream(tmp_path / "a.zarr", batch_size=9, shuffle=False)
    wanted = zarr.open_array(tmp_path / "a.zarr" / "v0", mode="r")[:]
    np.testing.assert_array_equal(batch["fields"][:, 0], np.asarray(wanted))


@pytest.mark.parametrize("samples", ["time,latitude", "longitude", "latitude,longitude"])
def test_samples_of_other_dimensions_are_those_of_a_store(source: Path, tmp_path: Path, samples: str) -> None:
    """Also where they are series; those of a store are in other chunks, which only another order shows."""
    store = convert([source], tmp_path / "store", Options(samples=samples))
    found, wanted = (
        maelio.stream(each, batch_size=5, shuffle=False) for each in (maelio.in_place(source, samples), store)
    )
    assert bytes_of(found) == bytes_of(wanted)


def test_grib_is_read_in_place_too(shared_data: Path, tmp_path: Path) -> None:
    """By the same door."""
    path = shared_data / "pydata+xarray-data" / "era5-2mt-2019-03-uk.grib"
    store = convert([path], tmp_path / "store")
    found, wanted = (iter(maelio.stream(each, batch_size=64, seed=2, threads=1)) for each in (path, store))
    assert bytes_of([next(found)]) == bytes_of([next(wanted)])


def test_levels_are_taken_by_their_coordinate(tmp_path: Path) -> None:
    """Which is read from the source."""
    values = np.arange(6 * 3 * 2, dtype="f4").reshape(6, 3, 2)
    level = xr.Variable("level", [1000.0, 850.0, 500.0], {"positive": "down", "units": "hPa"})
    time = xr.Variable("time", np.arange(6.0), {"units": "hours since 2000-01-01"})
    dataset = xr.Dataset({"t": (("time", "level", "x"), values)}, {"level": level, "time": time})
    dataset.to_zarr(tmp_path / "a.zarr", consolidated=False)
    batches = maelio.stream(tmp_path / "a.zarr", batch_size=6, shuffle=False, levels=(500, 1000))
    (batch,) = batches
    np.testing.assert_array_equal(batch["fields"][:, 0], values[:, [2, 0]])


def test_there_are_no_statistics_to_standardise_by(source: Path) -> None:
    with pytest.raises(
        BadRequest, match=f"standardise: {source} has no statistics of 'v0'; `maelio convert`"
    ):
        maelio.stream(source, batch_size=4, standardise=True)


def test_what_a_conversion_refuses_is_refused_and_a_policy_takes_it(tmp_path: Path) -> None:
    """By its own words; `in_place` takes what else may be asked of a conversion."""
    values = np.ones((4, 3, 4), "f4")
    path = write_netcdf(tmp_path / "a.nc", {"t": values}, times=[0, 1, 2, 4])
    with pytest.raises(MaelioError, match="--on gap=allow"):
        maelio.stream(path, batch_size=2)
    foreign = maelio.in_place(path, options=Options(on={"gap": "allow"}, select={"latitude": "60:40"}))
    (batch,) = maelio.stream(foreign, batch_size=4)
    assert batch["fields"].shape == (4, 1, 2, 4)


def test_damage_is_named(tmp_path: Path) -> None:
    """File and variable, when a batch needs it."""
    path = write(tmp_path, "netcdf4", 20, ["f4"], chunk=4)
    damage(path, "v0")
    with pytest.raises(BadData, match=f"{path}: variable 'v0': chunk 0"):
        bytes_of(maelio.stream(path, batch_size=4))


def test_a_file_that_changed_is_refused(source: Path) -> None:
    """Its tables of bytes are no longer true."""
    batches = maelio.stream(source, batch_size=4)
    os.utime(source, ns=(1, 1))
    with pytest.raises(BadData, match=f"{source} changed since it was opened"):
        next(iter(batches))


def test_a_read_that_fails_is_tried_again(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a store; then it is named."""
    batches = maelio.stream(source, batch_size=20, threads=1, retries=2)
    wanted = bytes_of(batches)
    pread, failing = os.pread, [2]

    def fail(*arguments: Any) -> bytes:
        if failing[0] > 0:
            failing[0] -= 1
            raise OSError(5, "Input/output error")
        return pread(*arguments)

    monkeypatch.setattr(os, "pread", fail)
    again = maelio.stream(source, batch_size=20, threads=1, retries=2)
    assert bytes_of(again) == wanted
    failing[0] = 3
    with pytest.raises(BadData, match="Input/output error"):
        bytes_of(maelio.stream(source, batch_size=20, threads=1, retries=2))


@pytest.mark.parametrize(
    ("asked", "arguments", "kind", "says"),
    [
        ("nothing-*.nc", {}, NotFound, "no file matches"),
        ("nothing.zarr", {}, NotFound, "no such store"),
        (["https://host/a.nc"], {}, BadRequest, "URLs are not read in place"),
        ("a.nc", {"samples": "step"}, BadRequest, "no dimension 'step'"),
        ("a.nc", {"variables": ["w"]}, BadRequest, "has no 'w', it has v0, v1"),
        ("a.nc", {"memory": 100}, BadRequest, "memory=100 B"),
        ("store", {"samples": "time"}, BadRequest, "samples='time': it was chosen when"),
        (".", {}, BadData, "no Zarr group; name the files"),
    ],
)
def test_what_cannot_be_streamed_is_refused(
    source: Path, monkeypatch: pytest.MonkeyPatch, asked: Any, arguments: Any, kind: Any, says: str
) -> None:
    convert([source], source.parent / "store")
    monkeypatch.chdir(source.parent)
    with pytest.raises(kind, match=says):
        maelio.stream(asked, batch_size=4, **arguments)


@pytest.mark.slow
def test_real_files_stream_as_their_stores(shared_data: Path, tmp_path: Path) -> None:
    """Or are refused, by the same words."""
    streamed = 0
    for number, path in enumerate(sorted(shared_data.rglob("*.nc"))):
        store = _attempt(convert, [path], tmp_path / str(number))
        foreign = _attempt(maelio.in_place, path)
        if isinstance(store, MaelioError):
            # what is wrong with values is found when they are asked for
            assert not isinstance(foreign, MaelioError) or str(foreign) == str(store)
            continue
        assert not isinstance(foreign, MaelioError), foreign
        found, wanted = (maelio.stream(each, batch_size=8) for each in (foreign, store))
        for here, there in zip(found, wanted, strict=True):
            assert here.keys() == there.keys(), path
            for key in here:
                torch.testing.assert_close(here[key], there[key], rtol=0, atol=0, equal_nan=True)
        streamed += 1
    assert streamed > 60


def _attempt(call: Callable[..., Store], *arguments: Any) -> Store | MaelioError:
    try:
        return call(*arguments)
    except MaelioError as error:
        return error

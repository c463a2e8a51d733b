"""Zarr groups convert as NetCDF files do, whichever version and codec they are."""

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import BZ2, Blosc, Zstd

from maelio.converters.convert import convert, plan_conversion
from maelio.converters.formats import describe
from maelio.converters.options import Options
from maelio.converters.storage import Part, read_rows, take
from maelio.errors import BadData
from maelio.store import CONTAINERS, Container
from maelio.zarr_chunks import zarr_chunks
from tests.converters.netcdf_files import write_netcdf
from tests.zarr_arrays import bits, zarr_arrays

ENCODINGS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "encoding": {"t": {"compressors": Zstd(), "chunks": (5, 2, 3)}}},
    "v2 plain": {"zarr_format": 2, "consolidated": False},
    "v3": {"zarr_format": 3, "consolidated": False, "encoding": {"t": {"chunks": (5, 2, 3)}}},
    "v3 shards": {
        "zarr_format": 3,
        "consolidated": False,
        "encoding": {"t": {"chunks": (2, 5, 7), "shards": (8, 5, 7)}},
    },
    "v2 blosc": {"zarr_format": 2, "encoding": {"t": {"compressors": Blosc(), "chunks": (24, 2, 3)}}},
}


@pytest.fixture
def dataset(tmp_path: Path) -> xr.Dataset:
    field = np.random.default_rng(0).random((24, 5, 7)).astype(np.float32)
    field[3, 2, 1] = np.nan
    with xr.open_dataset(write_netcdf(tmp_path / "a.nc", {"t": field})) as opened:
        return opened.load().drop_encoding()


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_zarr_group_comes_back_identical(tmp_path: Path, dataset: xr.Dataset, name: str) -> None:
    """Values, attributes, calendar and bounds; and zarr-python is not asked for fields."""
    dataset.to_zarr(tmp_path / "source.zarr", **ENCODINGS[name])
    assert not plan_conversion([tmp_path / "source.zarr"], tmp_path / "s.zarr").slow()
    convert([tmp_path / "source.zarr"], tmp_path / "s.zarr", Options(shard_bytes=2000))
    with xr.open_dataset(tmp_path / "s.zarr", engine="maelio") as found:
        xr.testing.assert_identical(found.load(), dataset)


def test_chunks_that_are_not_there_are_told(
    tmp_path: Path, dataset: xr.Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    """Zarr reads them as the fill value without a word; they may be empty, or lost."""
    dataset.to_zarr(tmp_path / "source.zarr", **ENCODINGS["v2"])
    (tmp_path / "source.zarr" / "t" / "1.0.0").unlink()
    with caplog.at_level(logging.WARNING):
        convert([tmp_path / "source.zarr"], tmp_path / "s.zarr")
    assert "1 of 45 chunks of 't' are not there and read as the fill value" in caplog.text


def test_a_damaged_chunk_is_named(tmp_path: Path, dataset: xr.Dataset) -> None:
    """The group, the variable and the file of the chunk."""
    dataset.to_zarr(tmp_path / "source.zarr", **ENCODINGS["v2"])
    (tmp_path / "source.zarr" / "t" / "1.0.0").write_bytes(b"noise")
    told = r"source\.zarr: variable 't': chunk t/1\.0\.0: it does not decompress \(zstd\): it does not begin"
    with pytest.raises(BadData, match=told):
        convert([tmp_path / "source.zarr"], tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


def test_damaged_metadata_is_named(tmp_path: Path) -> None:
    """Not a traceback of the library."""
    (tmp_path / "source.zarr").mkdir()
    (tmp_path / "source.zarr" / "zarr.json").write_text("{")
    with pytest.raises(BadData, match=r"zarr\.json is not JSON"):
        convert([tmp_path / "source.zarr"], tmp_path / "s.zarr")


@pytest.mark.parametrize("form", CONTAINERS)
def test_a_store_of_our_own_is_the_dataset_it_was_made_from(
    tmp_path: Path, dataset: xr.Dataset, form: Container
) -> None:
    """It can be converted again, to other chunks or another codec."""
    dataset.to_zarr(tmp_path / "source.zarr", **ENCODINGS["v3"])
    first = convert([tmp_path / "source.zarr"], tmp_path / "first", Options(format=form))
    convert([first.path], tmp_path / "again.zarr", Options(codec="zstd", samples="latitude"))
    with xr.open_dataset(tmp_path / "again.zarr", engine="maelio") as found:
        xr.testing.assert_identical(found.load(), dataset)


def test_variables_of_listed_folders_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Nothing else is the same the next time: an interrupted conversion would not be known again."""
    names = [f"v{number}" for number in range(20)]
    xr.Dataset({name: ("time", np.arange(3.0)) for name in names}).to_zarr(
        tmp_path / "source.zarr", consolidated=False
    )
    assert [*describe(tmp_path / "source.zarr").variables] == sorted(names)


def test_a_codec_that_is_not_known_is_left_to_zarr(tmp_path: Path, dataset: xr.Dataset) -> None:
    """The plan says so, and the values are the same."""
    dataset.to_zarr(tmp_path / "source.zarr", zarr_format=2, encoding={"t": {"compressors": BZ2()}})
    plan = plan_conversion([tmp_path / "source.zarr"], tmp_path / "s.zarr")
    assert plan.slow() == {"source.zarr:t": "Zarr: codec 'bz2'"}
    convert([tmp_path / "source.zarr"], tmp_path / "s.zarr")
    with xr.open_dataset(tmp_path / "s.zarr", engine="maelio") as found:
        xr.testing.assert_identical(found.load(), dataset)


@pytest.mark.filterwarnings("ignore:Numcodecs codecs")  # version 3 does not specify them
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_any_part_of_an_array_is_what_zarr_reads(data: st.DataObject) -> None:
    """Rows along any axis, parts of others, into memory of any order and byte order."""
    with TemporaryDirectory() as name:
        array, _ = data.draw(zarr_arrays(Path(name)))
        storage = zarr_chunks(array.metadata.to_dict(), "t", array.dtype, array.fill_value)
        axis = data.draw(st.integers(0, array.ndim - 1), label="axis")
        first, last = sorted(data.draw(st.integers(0, array.shape[axis] - 1)) for _ in range(2))
        rows = range(first, last + 1)
        taken: dict[int, Part] = {}
        for other in data.draw(st.sets(st.integers(0, array.ndim - 1)), label="parts") - {axis}:
            wanted = data.draw(st.lists(st.integers(0, array.shape[other] - 1), min_size=1, max_size=3))
            taken[other] = Part(array.shape[other], tuple(range(at, at + 1) for at in wanted))
        expected = take(array[...], {**taken, axis: Part(array.shape[axis], (rows,))})  # type: ignore[arg-type]
        turned = data.draw(st.permutations(range(array.ndim)), label="order in memory")
        dtype = np.dtype(data.draw(st.sampled_from([array.dtype, np.float64]), label="wanted"))
        out = np.empty([expected.shape[at] for at in turned], dtype)
        fd = os.open(name, os.O_RDONLY)
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                read_rows(fd, storage, array.dtype, axis, rows, out.transpose(np.argsort(turned)), taken)
        finally:
            os.close(fd)
        with np.errstate(over="ignore", invalid="ignore"):
            cast = expected.astype(out.dtype)
        np.testing.assert_array_equal(bits(out.transpose(np.argsort(turned))), bits(cast))


def test_real_arrays_are_what_zarr_reads(shared_data: Path) -> None:
    """Whatever wrote them."""
    compared = []
    for root in sorted(shared_data.rglob(".zgroup")):
        fd = os.open(root.parent, os.O_RDONLY)
        try:
            for name, array in zarr.open_group(root.parent, mode="r", use_consolidated=False).arrays():
                storage = zarr_chunks(array.metadata.to_dict(), name, array.dtype, array.fill_value)
                out = np.empty(array.shape, array.dtype)
                read_rows(fd, storage, array.dtype, 0, range(len(out)), out)
                np.testing.assert_array_equal(bits(out), bits(array[...]))
                compared.append(name)
        finally:
            os.close(fd)
    assert "analysed_sst" in compared

"""Zarr groups convert as NetCDF files do, whichever version and codec they are."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numcodecs import Zstd

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadData
from maelio.store import CONTAINERS, Container
from tests.converters.netcdf_files import write_netcdf

ENCODINGS: dict[str, dict[str, Any]] = {
    "v2": {"zarr_format": 2, "encoding": {"t": {"compressors": Zstd(), "chunks": (5, 2, 3)}}},
    "v2 plain": {"zarr_format": 2, "consolidated": False},
    "v3": {"zarr_format": 3, "consolidated": False, "encoding": {"t": {"chunks": (5, 2, 3)}}},
    "v3 shards": {
        "zarr_format": 3,
        "consolidated": False,
        "encoding": {"t": {"chunks": (2, 5, 7), "shards": (8, 5, 7)}},
    },
}


@pytest.fixture
def dataset(tmp_path: Path) -> xr.Dataset:
    field = np.random.default_rng(0).random((24, 5, 7)).astype(np.float32)
    field[3, 2, 1] = np.nan
    with xr.open_dataset(write_netcdf(tmp_path / "a.nc", {"t": field})) as opened:
        return opened.load().drop_encoding()


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_zarr_group_comes_back_identical(tmp_path: Path, dataset: xr.Dataset, name: str) -> None:
    """Values, attributes, calendar and bounds."""
    dataset.to_zarr(tmp_path / "source.zarr", **ENCODINGS[name])
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
    """The variable and the group."""
    dataset.to_zarr(tmp_path / "source.zarr", **ENCODINGS["v2"])
    (tmp_path / "source.zarr" / "t" / "1.0.0").write_bytes(b"noise")
    with pytest.raises(BadData, match=r"source\.zarr: variable 't'"):
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

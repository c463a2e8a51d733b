"""Formats that nothing here knows, through whatever engine of xarray takes them: slowly, and said so."""

import gzip
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray, BackendEntrypoint, list_engines, plugins
from xarray.core import indexing

from maelio.cli import main
from maelio.converters.compare import compare
from maelio.converters.convert import convert, plan_conversion
from maelio.converters.options import Options
from maelio.errors import BadData
from tests.converters.netcdf_files import write_netcdf


def test_a_classic_file_within_gzip_converts(
    tmp_path: Path, field: NDArray[np.float32], caplog: pytest.LogCaptureFixture
) -> None:
    """scipy unpacks it. Every variable is slow, and one line says why."""
    source = write_netcdf(tmp_path / "a.nc", {"t": field}, kind="NETCDF3_CLASSIC")
    (tmp_path / "a.nc.gz").write_bytes(gzip.compress(source.read_bytes()))
    with caplog.at_level(logging.WARNING):
        plan = plan_conversion(tmp_path / "a.nc.gz", tmp_path / "s.zarr")
    assert "a.nc.gz is read slowly, by an engine of xarray" in caplog.text
    assert plan.slow() == {"a.nc.gz:t": "opened by whatever engine xarray has for it"}
    store = convert(tmp_path / "a.nc.gz", tmp_path / "s.zarr", Options(shard_bytes=2000))
    assert compare(source, store.path) == []
    assert compare(tmp_path / "a.nc.gz", store.path) == []


def test_hdf5_without_dimensions_converts_along_one_that_is_named(tmp_path: Path) -> None:
    """The NetCDF library makes up names for them."""
    field = np.random.default_rng(0).random((6, 4, 3)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t"] = field
    store = convert(tmp_path / "a.h5", tmp_path / "s.zarr", Options(samples="phony_dim_0"))
    with xr.open_dataset(store.path, engine="maelio") as found:
        np.testing.assert_array_equal(found["t"], field)


class Inside:
    """How many threads are in the engine, and the most that ever were."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        yield
        with self._lock:
            self.now -= 1


INSIDE = Inside()


def write_field(path: Path, field: NDArray[np.float32]) -> Path:
    path.write_bytes(b"#field %d %d\n" % field.shape + field.tobytes())
    return path


def load(path: Path) -> NDArray[np.float32]:
    head, _, body = path.read_bytes().partition(b"\n")
    return np.frombuffer(body, np.float32).reshape([int(word) for word in head.split()[1:]])


class _Values(BackendArray):  # type: ignore[misc, unused-ignore]
    """Reads the file again for every access, as an engine without locks would."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shape = load(path).shape
        self.dtype = np.dtype("f4")

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        with INSIDE.counted():
            values = load(self.path)
        if (values < 0).any():
            raise KeyError("a negative value")  # engines raise whatever they like
        found: NDArray[Any] = values[key]
        return found


class FieldEngine(BackendEntrypoint):  # type: ignore[misc, unused-ignore]
    """A format of a third party: a line "#field ROWS COLUMNS", then float32. It decodes times on its own."""

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        path = Path(filename_or_obj)
        return path.is_file() and path.read_bytes().startswith(b"#field ")

    def open_dataset(self, filename_or_obj: Any, *, drop_variables: Any = None) -> xr.Dataset:
        values = _Values(Path(filename_or_obj))
        times = np.datetime64("2000-01-01", "ns") + np.arange(values.shape[0]) * np.timedelta64(6, "h")
        lazy = xr.Variable(("time", "x"), indexing.LazilyIndexedArray(values), {"units": "K"})
        return xr.Dataset({"t": lazy}, coords={"time": times}, attrs={"title": "field"})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FieldEngine, as xarray has it from a package that is installed."""
    entry = EntryPoint("field", f"{__name__}:FieldEngine", "xarray.backends")
    found = entry_points(group="xarray.backends")
    list_engines.cache_clear()
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*found, entry])
    yield
    list_engines.cache_clear()


@pytest.mark.usefixtures("engine")
def test_a_format_of_a_third_party_converts(tmp_path: Path) -> None:
    """One thread is in the engine at a time; times that it decodes become numbers again."""
    field = np.random.default_rng(0).random((24, 20000)).astype(np.float32)
    source = write_field(tmp_path / "a.field", field)
    store = convert(source, tmp_path / "s.zarr", Options(shard_bytes=1, threads=8))
    assert len(list(store.shard_files())) > 8
    with xr.open_dataset(store.path, engine="maelio") as found, xr.open_dataset(source) as wanted:
        xr.testing.assert_equal(found.load(), wanted.load())
        assert found.attrs == wanted.attrs
    assert INSIDE.most == 1


@pytest.mark.usefixtures("engine")
def test_what_an_engine_raises_is_one_line(tmp_path: Path) -> None:
    """With the file and the variable, whatever it is."""
    source = write_field(tmp_path / "a.field", -np.ones((4, 2), np.float32))
    with pytest.raises(BadData, match=r"a\.field: variable 't' cannot be read: 'a negative value'"):
        convert(source, tmp_path / "s.zarr")


def test_what_no_engine_takes_is_refused_with_what_xarray_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Briefly, behind what the file is."""
    (tmp_path / "a.bufr").write_bytes(b"BUFR" + bytes(100))
    assert main(["convert", str(tmp_path / "a.bufr"), str(tmp_path / "s.zarr")]) == 6
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        "a.bufr: is neither NetCDF nor GRIB: it is BUFR, which is not read; xarray: did not find a match"
        in line
    )
    assert len(line) < 500


def test_an_archive_of_text_is_refused(tmp_path: Path) -> None:
    """gzip alone makes no data."""
    (tmp_path / "a.nc.gz").write_bytes(gzip.compress(b"no data\n"))
    with pytest.raises(
        BadData, match=r"a\.nc\.gz: is neither NetCDF nor GRIB: it is compressed with gzip.*; xarray: "
    ):
        convert(tmp_path / "a.nc.gz", tmp_path / "s.zarr")

"""What goes into a store comes out of it, however the source held it."""

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.codecs import CODECS
from maelio.converters.convert import Progress, convert, plan_conversion
from maelio.converters.options import Options
from maelio.store import CONTAINERS
from tests.converters.netcdf_files import Kind, damage, write_netcdf

STORAGES: list[dict[str, Any]] = [
    {},
    {"contiguous": True, "unlimited": False},
    {"chunksizes": (3, 2, 4)},
    {"zlib": True, "chunksizes": (1, 5, 7)},
    {"zlib": True, "shuffle": True, "chunksizes": (4, 2, 3)},
    {"zlib": True, "shuffle": True, "fletcher32": True, "chunksizes": (4, 2, 3)},
    {"compression": "zstd", "chunksizes": (4, 5, 7)},
]


def assert_same(store: Path, source: xr.Dataset) -> None:
    with xr.open_dataset(store, engine="maelio") as found:
        xr.testing.assert_identical(found.load(), source.load())


def stored(store: Path) -> NDArray[Any]:
    """The fields as plain zarr reads them. Shape: (time, variable, latitude, longitude)."""
    array = zarr.open_group(store, mode="r")["fields"]
    assert isinstance(array, zarr.Array)
    return np.asarray(array[...])


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_store_gives_back_the_very_dataset(data: st.DataObject) -> None:
    """Any number of files, dtype, storage, codec, shard size and memory: names, attributes and bits are equal."""
    rows, columns = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)), label="grid")
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3), label="steps of each file")
    names = data.draw(st.sampled_from([("a",), ("a", "b"), ("b", "a", "c")]), label="variables")
    dtypes = [data.draw(st.sampled_from(["f4", "f8", "i2", "i4"]), label="dtype") for _ in names]
    zlib, shuffle = data.draw(st.booleans()), data.draw(st.booleans())
    kinds: list[Kind] = ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET"]
    kind = data.draw(st.sampled_from(kinds), label="kind")
    options = Options(
        format=data.draw(st.sampled_from(CONTAINERS)),
        codec=data.draw(st.sampled_from(CODECS)),
        shard_bytes=data.draw(st.integers(1, 2000), label="shard bytes"),
        threads=data.draw(st.integers(1, 3)),
    )
    random = np.random.default_rng(data.draw(st.integers(0, 99), label="seed"))
    with TemporaryDirectory() as folder:
        files, first = [], 0
        for number, length in enumerate(lengths):
            fields = {
                name: (random.random((length, rows, columns)) * 100).astype(dtype)
                for name, dtype in zip(names, dtypes, strict=True)
            }
            storage: dict[str, Any] = {"zlib": zlib, "shuffle": shuffle} if kind == "NETCDF4" else {}
            path = Path(folder) / f"{number}.nc"
            files.append(write_netcdf(path, fields, first=first, kind=kind, **storage))
            first += length
        store = convert(files, Path(folder) / "store.zarr", options)
        opened = [xr.open_dataset(file) for file in files]
        whole = xr.concat(opened, "time", data_vars="minimal", coords="minimal", compat="override")
        assert_same(store.path, whole)
        for dataset in opened:
            dataset.close()


@pytest.mark.parametrize("storage", STORAGES, ids=str)
def test_every_storage_reads_the_same(
    tmp_path: Path, field: NDArray[np.float32], storage: dict[str, Any]
) -> None:
    """Contiguous, chunked, filtered and big-endian variables give the same bits, by the fast path or the slow one."""
    source = write_netcdf(tmp_path / "a.nc", {"t2m": field}, **storage)
    convert([source], tmp_path / "s.zarr", Options(shard_bytes=1000))
    np.testing.assert_array_equal(stored(tmp_path / "s.zarr")[:, 0], field)


def test_big_endian_values_are_swapped(tmp_path: Path, field: NDArray[np.float32]) -> None:
    """A store is little-endian whatever its source was."""
    source = write_netcdf(
        tmp_path / "a.nc", {"t2m": field.astype(">f4")}, endian="big", zlib=True, shuffle=True
    )
    store = convert([source], tmp_path / "s.zarr", Options(shard_bytes=1000))
    np.testing.assert_array_equal(stored(store.path)[:, 0], field)


@pytest.mark.parametrize("storage", [{}, {"zlib": True, "shuffle": True, "chunksizes": (2, 3, 2)}])
@pytest.mark.parametrize("dimension", ["time", "latitude", "longitude"])
def test_samples_may_lie_along_any_dimension(
    tmp_path: Path, field: NDArray[np.float32], dimension: str, storage: dict[str, Any]
) -> None:
    """The sample axis comes first in the store, and goes back to its place in the dataset."""
    source = write_netcdf(tmp_path / "a.nc", {"t2m": field}, **storage)
    store = convert([source], tmp_path / "s.zarr", Options(samples=dimension, shard_bytes=500))
    assert store.arrays["fields"].dimensions[0] == dimension
    with xr.open_dataset(source) as dataset:
        assert_same(store.path, dataset)


def test_packed_and_missing_values_are_decoded_as_xarray_does(tmp_path: Path) -> None:
    """int16 with scale and offset become floats; fill values become NaN and are counted as missing."""
    packed = np.arange(24, dtype=np.int16).reshape(4, 2, 3)
    raw = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 2, 3)
    raw[1, 1] = -999
    attributes: dict[str, dict[str, Any]] = {
        "packed": {"_FillValue": np.int16(5), "scale_factor": np.float32(0.5), "add_offset": np.float32(250)},
        "raw": {"_FillValue": np.float32(-999), "missing_value": np.float32(-999)},
        "counts": {},
    }
    fields: dict[str, NDArray[Any]] = {"packed": packed, "raw": raw, "counts": packed}
    source = write_netcdf(tmp_path / "a.nc", fields, attributes=attributes)
    store = convert([source], tmp_path / "s.zarr")
    with xr.open_dataset(source) as dataset:
        assert_same(store.path, dataset)
        assert np.isnan(dataset.packed.values).sum() == 1
    statistics = {
        name: found for stack in store.contents.stacks.values() for name, found in stack.statistics.items()
    }
    assert statistics["raw"].missing == (3,)
    assert statistics["packed"].missing == (1,)
    assert statistics["packed"].max == (250 + 23 / 2,)
    assert store.contents.variables["packed"].encoding["dtype"] == "int16"


def test_each_file_is_unpacked_with_its_own_scale(tmp_path: Path) -> None:
    """Monthly files packed with different scales do not wrap around or shift."""
    values = np.arange(24, dtype=np.int16).reshape(4, 2, 3)
    scales = (np.float32(0.5), np.float32(2.0))
    files = [
        write_netcdf(
            tmp_path / f"{n}.nc", {"t": values}, first=4 * n, attributes={"t": {"scale_factor": scale}}
        )
        for n, scale in enumerate(scales)
    ]
    convert(files, tmp_path / "s.zarr", Options(shard_bytes=50))
    with xr.open_dataset(tmp_path / "s.zarr", engine="maelio") as found:
        np.testing.assert_array_equal(found.t.values, np.concatenate([values * 0.5, values * 2.0]))


def test_files_are_put_in_order_of_time_and_counted_from_one_epoch(
    tmp_path: Path, field: NDArray[np.float32]
) -> None:
    """Names say nothing about order; units with another epoch are moved to the first file's, with their bounds."""
    later = write_netcdf(
        tmp_path / "a.nc", {"t": field[12:]}, times=range(12, 24), units="hours since 1999-12-30"
    )
    early = write_netcdf(
        tmp_path / "b.nc", {"t": field[:12]}, times=range(-48, -36), units="hours since 2000-01-02"
    )
    convert([later, early], tmp_path / "s.zarr", Options(on={"gap": "allow"}))
    with xr.open_dataset(tmp_path / "s.zarr", engine="maelio") as found, xr.open_dataset(later) as second:
        assert found.time.values[12:].tolist() == second.time.values.tolist()
        assert found.time_bnds.values[12:].tolist() == second.time_bnds.values.tolist()
        np.testing.assert_array_equal(found.t.values, field)


def test_variables_of_different_shapes_stand_in_arrays_of_their_own(tmp_path: Path) -> None:
    """Levels, surface fields and scalars in one file make one store that xarray opens without a conflict."""
    times = xr.date_range("2000-01-01", periods=6, freq="6h", use_cftime=False)
    random = np.random.default_rng(0)
    dataset = xr.Dataset(
        {
            "t": (("time", "level", "x"), random.random((6, 3, 4)).astype("f4")),
            "q": (("time", "level", "x"), random.random((6, 3, 4)).astype("f4")),
            "sp": (("time", "x"), random.random((6, 4))),
            "solar": (("time",), random.random(6).astype("f4")),
            "orography": (("x",), random.random(4)),
        },
        coords={"time": times, "level": ("level", [850, 500, 250], {"positive": "down", "units": "hPa"})},
    )
    dataset.to_netcdf(tmp_path / "a.nc")
    store = convert([tmp_path / "a.nc"], tmp_path / "s.zarr")
    assert {name: array.variables for name, array in store.arrays.items()} == {
        "fields": ("t", "q"),
        "profiles": ("sp",),
        "scalars": ("solar",),
    }
    with xr.open_dataset(tmp_path / "a.nc") as source:
        assert_same(store.path, source)
    with xr.open_zarr(store.path, chunks=None) as plain:
        np.testing.assert_array_equal(plain.fields.sel(fields_variable="q"), dataset.q)
    by_level = store.contents.stacks["fields"].statistics["t"]
    np.testing.assert_allclose(by_level.mean, dataset.t.astype("f8").mean(("time", "x")), rtol=1e-12)


def test_only_the_wanted_variables_are_taken(tmp_path: Path, field: NDArray[np.float32]) -> None:
    """Coordinates stay, other data go."""
    source = write_netcdf(tmp_path / "a.nc", {"t": field, "u": field, "v": field})
    convert([source], tmp_path / "s.zarr", Options(variables=("v",)))
    with xr.open_dataset(source) as dataset:
        assert_same(tmp_path / "s.zarr", dataset[["v", "time_bnds"]])


@pytest.mark.parametrize("codec", CODECS)
def test_plain_zarr_reads_every_codec(
    netcdf: Path, tmp_path: Path, field: NDArray[np.float32], codec: Any
) -> None:
    """No reader needs maelio."""
    convert([netcdf], tmp_path / "s.zarr", Options(codec=codec, shard_bytes=600))
    np.testing.assert_array_equal(stored(tmp_path / "s.zarr")[:, 0], field)
    with xr.open_zarr(tmp_path / "s.zarr", chunks=None) as plain:
        assert plain.fields.sel(variable="t2m").dims == ("time", "latitude", "longitude")
        assert plain.fields.attrs["variables"]["t2m"]["units"] == "K"


def test_a_plan_writes_nothing_and_tells_everything(netcdf: Path, tmp_path: Path) -> None:
    """`--dry-run` is this value, printed."""
    plan = plan_conversion([netcdf], tmp_path / "s.zarr", Options(shard_bytes=700))
    assert "fields float32 (time: 24, variable: 1, latitude: 5, longitude: 7): t2m" in plan.describe()
    assert plan.to_json()["samples"] == 24
    assert [path.name for path in tmp_path.iterdir()] == ["source.nc"]


def test_progress_counts_every_region_once(netcdf: Path, tmp_path: Path) -> None:
    """It starts at nothing and ends at everything."""
    seen: list[Progress] = []
    convert([netcdf], tmp_path / "s.zarr", Options(shard_bytes=1), progress=seen.append)
    assert [step.regions_done for step in seen] == list(range(seen[-1].regions + 1))
    assert seen[0].bytes_done == 0
    assert seen[-1].bytes_done == seen[-1].bytes == 24 * 5 * 7 * 4
    assert all(before.bytes_done < after.bytes_done for before, after in itertools.pairwise(seen))


def test_overwrite_replaces_a_store_only_when_the_new_one_is_whole(
    tmp_path: Path, field: NDArray[np.float32]
) -> None:
    """A failed replacement leaves the old store as it was."""
    target = tmp_path / "s.zarr"
    good = write_netcdf(tmp_path / "a.nc", {"t": field})
    convert([good], target)
    bad = write_netcdf(tmp_path / "b.nc", {"t": field}, zlib=True)
    damage(bad, "t")
    with pytest.raises(Exception, match=r"b\.nc"):
        convert([bad], target, Options(overwrite=True))
    with xr.open_dataset(good) as dataset:
        assert_same(target, dataset)
    better = write_netcdf(tmp_path / "c.nc", {"t": field + 1})
    convert([better], target, Options(overwrite=True))
    with xr.open_dataset(better) as dataset:
        assert_same(target, dataset)
    assert not list(tmp_path.glob("*.old-*"))

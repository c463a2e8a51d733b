"""Byte tables: what the fast path reads is what the file's own library reads."""

import os
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numcodecs import Shuffle

from maelio import packed
from maelio.converters import netcdf3, netcdf4
from maelio.converters.formats import describe
from maelio.converters.storage import Chunks, Part, Rows, Slow, read_rows
from maelio.errors import BadData
from maelio.packed import unshuffle
from tests.converters.hdf5_files import field, write_hdf5


@given(items=st.binary(min_size=1, max_size=4000), itemsize=st.sampled_from([1, 2, 4, 8]))
def test_unshuffle_undoes_shuffle(items: bytes, itemsize: int) -> None:
    """numcodecs shuffles as HDF5 does."""
    items = items * itemsize
    shuffled = bytes(Shuffle(itemsize).encode(items)) if itemsize > 1 else items
    out = np.empty(len(items), np.uint8)
    unshuffle(shuffled, itemsize, out)
    assert out.tobytes() == items


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2"])
@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("at_once", [1, 40, 2**18])
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_shuffled_chunks_come_part_by_part_as_hdf5_reads_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    at_once: int,
    data: st.DataObject,
    *,
    checked: bool,
) -> None:
    """Any rows, and some columns of them, into an array with gaps; `at_once` are the bytes of a part."""
    monkeypatch.setattr(packed, "_UNSHUFFLED_AT_ONCE", at_once)
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 9)))
    chunk = data.draw(st.tuples(*(st.integers(1, size) for size in shape)))
    start, stop = sorted(data.draw(st.tuples(*2 * [st.integers(0, shape[0])])))
    columns = data.draw(
        st.lists(st.integers(0, shape[1] - 1), min_size=1, max_size=3, unique=True).map(sorted)
    )
    values = np.random.default_rng(0).integers(-9, 9, shape).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "x", data=values, chunks=chunk, compression="gzip", shuffle=True, fletcher32=checked
        )
    found, storage = netcdf4.tables(tmp_path / "a.h5", {"x": ("", shape)})["x"]
    assert isinstance(storage, Chunks)
    out = np.zeros((stop - start, 2, len(columns)), values.dtype.newbyteorder("="))
    parts = {1: Part(shape[1], tuple(range(at, at + 1) for at in columns))}
    with open(tmp_path / "a.h5", "rb") as opened:
        read_rows(opened.fileno(), storage, found, 0, range(start, stop), out[:, 1], parts)
    np.testing.assert_array_equal(out[:, 1], values[start:stop][:, columns])
    assert not out[:, 0].any()


@pytest.mark.parametrize("at_once", [40, 2**18])
@pytest.mark.parametrize("size", [90, 110])
def test_a_chunk_of_another_size_than_its_shape_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, at_once: int
) -> None:
    """Before a part of it is in its place."""
    monkeypatch.setattr(packed, "_UNSHUFFLED_AT_ONCE", at_once)
    path = tmp_path / "chunk"
    path.write_bytes(zlib.compress(bytes(4 * size)))
    with open(path, "rb") as file:
        chunk = packed.Packed("7", file.fileno(), 0, path.stat().st_size, ("shuffle", "deflate"), 4)
        with pytest.raises(BadData, match=r"chunk 7: it (does not decompress|holds)"):
            next(chunk.parts((100,), np.dtype("f4")))


def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path: Path) -> None:
    """Sparse variables are common: HDF5 has no bytes for them."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset(
            "x", (6, 4), "f4", chunks=(2, 2), fillvalue=-7, compression="gzip", shuffle=True
        )
        made[2:4, 0:2] = 1
        expected = made[...]
    dtype, storage = netcdf4.tables(tmp_path / "a.h5", {"x": ("", (6, 4))})["x"]
    assert isinstance(storage, Chunks)
    out = np.empty((3, 4), np.float32)
    with open(tmp_path / "a.h5", "rb") as opened:
        read_rows(opened.fileno(), storage, dtype, 0, range(1, 4), out)
    np.testing.assert_array_equal(out, expected[1:4])


def test_a_chunk_whose_filters_were_left_out_is_taken_as_it_is(tmp_path: Path) -> None:
    """HDF5 marks such chunks in a mask; libraries write them where compression does not pay."""
    values = np.arange(8, dtype=np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("x", (8,), "f4", chunks=(8,), compression="gzip", shuffle=True)
        made.id.write_direct_chunk((0,), values.tobytes(), filter_mask=0b11)
    dtype, storage = netcdf4.tables(tmp_path / "a.h5", {"x": ("", (8,))})["x"]
    assert isinstance(storage, Chunks)
    out = np.empty(8, np.float32)
    with open(tmp_path / "a.h5", "rb") as opened:
        read_rows(opened.fileno(), storage, dtype, 0, range(8), out)
    np.testing.assert_array_equal(out, values)


def test_a_file_that_ends_early_is_an_error_not_zeros(tmp_path: Path) -> None:
    """The last row lies beyond the end."""
    path = tmp_path / "raw"
    path.write_bytes(bytes(30))
    fd = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(BadData, match="the file ends at byte 30, wanted 32"):
            read_rows(fd, Rows(0, 8), np.dtype("f8"), 0, range(4), np.empty(4))
    finally:
        os.close(fd)


def test_every_classic_file_has_the_bytes_where_the_header_says(shared_data: Path) -> None:
    """All real classic files: each numeric variable read by its table equals what xarray reads."""
    compared = 0
    for path in sorted(shared_data.rglob("*")):
        if path.suffix not in (".nc", ".cdf") or path.parent.name == "derived":
            continue
        if path.read_bytes()[:3] != b"CDF":
            continue
        with xr.open_dataset(path, decode_cf=False) as raw:
            for name, (dtype, rows) in netcdf3.tables(path).items():
                variable = raw.variables[name]
                if dtype.kind == "S" or not variable.size:
                    continue
                out = np.empty(variable.shape, dtype.newbyteorder("="))
                with open(path, "rb") as file:
                    read_rows(file.fileno(), rows, dtype, 0, range(len(out)), out)
                np.testing.assert_array_equal(out, variable.values, f"{path}: {name}")
                compared += 1
    assert compared > 100


def test_an_unlimited_dimension_that_a_variable_does_not_fill_is_read_slowly(tmp_path: Path) -> None:
    """HDF5 holds fewer rows than NetCDF shows; the library fills the rest."""
    import netCDF4

    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.createDimension("time", None)
        file.createVariable("long", "f4", ("time",))[:] = np.arange(6)
        file.createVariable("short", "f4", ("time",))[:2] = [1, 2]
    source = describe(tmp_path / "a.nc")
    assert isinstance(source.variables["short"].storage, Slow)
    assert isinstance(source.variables["long"].storage, Chunks)


@pytest.mark.parametrize(
    "start", [(10, 0, 0, 0), (6, 0, 0, 0), (25, 0, 0, 0), (2**62, 0, 0, 0), (2**63, 0, 0, 0)]
)
def test_a_chunk_where_none_can_be_is_refused(tmp_path: Path, start: tuple[int, ...]) -> None:
    """Its values would be nowhere, and whatever is in memory in their place."""
    path = write_hdf5(tmp_path / "a.nc", field(), chunks=(5, 5, 7), compression="gzip")
    content = path.read_bytes()
    key = struct.pack("<4Q", 5, 0, 0, 0)  # of the tree, with a zero for the bytes of a value
    assert content.count(key) == 1
    path.write_bytes(content.replace(key, struct.pack("<4Q", *start)))
    with pytest.raises(BadData, match=r"a\.nc: .*(table of chunks is damaged|cannot be opened as NetCDF)"):
        describe(path)

"""Chunks that other filters than NetCDF's own have packed: read fast, read slowly, or refused by name."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from numpy.typing import NDArray

from maelio.converters.compare import compare
from maelio.converters.convert import convert, plan_conversion
from maelio.converters.netcdf import describe
from maelio.converters.options import Options
from maelio.converters.storage import Chunks, Slow
from maelio.errors import BadData, Missing
from maelio.store import Store
from tests.converters.hdf5_files import field, write_hdf5

FAST: dict[str, dict[str, Any]] = {
    "zstd": dict(hdf5plugin.Zstd(clevel=3)),
    "shuffle, zstd": {"shuffle": True, **hdf5plugin.Zstd()},
    "zstd, fletcher32": {"fletcher32": True, **hdf5plugin.Zstd()},
    "blosc lz4": dict(hdf5plugin.Blosc("lz4")),
    "blosc zstd, bits shuffled": dict(hdf5plugin.Blosc("zstd", 5, hdf5plugin.Blosc.BITSHUFFLE)),
    "blosc zlib, not shuffled": dict(hdf5plugin.Blosc("zlib", 5, hdf5plugin.Blosc.NOSHUFFLE)),
    "blosc stored": dict(hdf5plugin.Blosc("lz4", 0)),
    "fletcher32": {"fletcher32": True},
    "shuffle, deflate, fletcher32": {"fletcher32": True, "shuffle": True, "compression": "gzip"},
}  # fmt: skip

SLOW: dict[str, dict[str, Any]] = {
    "32004 (lz4)": dict(hdf5plugin.LZ4()),
    "32008 (bitshuffle)": dict(hdf5plugin.Bitshuffle()),
    "32013 (zfp)": dict(hdf5plugin.Zfp(reversible=True)),
    "32026 (blosc2)": dict(hdf5plugin.Blosc2()),
    "307 (bzip2)": dict(hdf5plugin.BZip2()),
    "32000 (lzf)": {"compression": "lzf"},
    "4 (szip)": {"compression": "szip"},
}


def values(store: Store) -> NDArray[Any]:
    import zarr

    found: NDArray[Any] = zarr.open_array(store.path / "fields")[:, 0]  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2"])
@pytest.mark.parametrize("name", FAST)
def test_frequent_filters_are_undone_here(tmp_path: Path, name: str, dtype: str) -> None:
    """No library is in the way, and the values are those that hdf5plugin packed, whatever the byte order."""
    source = write_hdf5(tmp_path / "a.h5", field(dtype), **FAST[name])
    assert isinstance(describe(source, "netcdf4").variables["t"].storage, Chunks)
    np.testing.assert_array_equal(values(convert([source], tmp_path / "s.zarr")), field(dtype))


@pytest.mark.parametrize("name", SLOW)
def test_other_filters_are_undone_by_h5py(tmp_path: Path, name: str) -> None:
    """Slowly, and said so: the NetCDF library has few of them."""
    source = write_hdf5(tmp_path / "a.h5", field(), **SLOW[name])
    plan = plan_conversion([source], tmp_path / "s.zarr")
    assert plan.slow() == {"a.h5:t": f"HDF5 filter {name}"}
    np.testing.assert_array_equal(values(convert([source], tmp_path / "s.zarr")), field())


def test_integers_packed_by_scale_offset_come_back(tmp_path: Path) -> None:
    """HDF5's own packing of integers in few bits, which h5py undoes."""
    source = write_hdf5(tmp_path / "a.h5", field("<i4"), scaleoffset=0)
    np.testing.assert_array_equal(values(convert([source], tmp_path / "s.zarr")), field("<i4"))


@pytest.mark.parametrize("packed", [False, True])
def test_integers_of_twelve_bits_come_back(tmp_path: Path, packed: bool) -> None:
    """Their bytes in the file are no int16: the sign stands in bit 11. Packed: HDF5's n-bit filter."""
    wanted = field("<i2") - 400

    def make(file: h5py.Group) -> h5py.Dataset:
        twelve = h5py.h5t.NATIVE_INT16.copy()
        twelve.set_precision(12)
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((5, 5, 7))
        if packed:
            properties.set_filter(h5py.h5z.FILTER_NBIT)
        space = h5py.h5s.create_simple(wanted.shape)
        h5py.h5d.create(file.id, b"t", twelve, space, properties)
        file["t"][...] = wanted
        return file["t"]

    source = write_hdf5(tmp_path / "a.h5", wanted, make)
    np.testing.assert_array_equal(values(convert([source], tmp_path / "s.zarr")), wanted)


@pytest.mark.parametrize("dtype", ["float16", "longdouble"])
def test_floats_that_netcdf_does_not_have_are_refused(tmp_path: Path, dtype: str) -> None:
    """The NetCDF library would end the process."""
    source = write_hdf5(tmp_path / "a.h5", field(dtype))
    for use in (convert, compare):
        with pytest.raises(BadData, match=r"a\.h5: variable 't' has dtype float(16|128), wanted float32"):
            use(source, tmp_path / "s.zarr")


@pytest.mark.parametrize("name", [name for name in FAST if name != "blosc stored"])  # which has no frame
def test_a_damaged_frame_is_found(tmp_path: Path, name: str) -> None:
    """The message names the file and the variable; nothing is published."""
    source = write_hdf5(tmp_path / "a.h5", field(), **FAST[name])
    with h5py.File(source) as file:
        place = file["t"].id.get_chunk_info(0).byte_offset
    content = bytearray(source.read_bytes())
    content[place : place + 16] = b"\xff" * 16
    source.write_bytes(content)
    with pytest.raises(BadData, match=r"a\.h5: variable 't': chunk 0"):
        convert([source], tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize("at", range(0, 700, 97))
def test_one_flipped_bit_is_found_by_the_checksum(tmp_path: Path, at: int) -> None:
    """fletcher32 is tested, not skipped, wherever the bit is."""
    source = write_hdf5(tmp_path / "a.h5", field(), fletcher32=True)
    with h5py.File(source) as file:
        place = file["t"].id.get_chunk_info(1).byte_offset + at
    content = bytearray(source.read_bytes())
    content[place] ^= 4
    source.write_bytes(content)
    with pytest.raises(BadData, match=r"variable 't': chunk 1: it does not decompress \(fletcher32\)"):
        convert([source], tmp_path / "s.zarr")


UNKNOWN = 40_000


def _unknown_filter(file: h5py.Group) -> h5py.Dataset:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((24, 5, 7))
    properties.set_filter(UNKNOWN, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple(field().shape)
    dataset = h5py.h5d.create(file.id, b"t", h5py.h5t.IEEE_F32LE, space, properties)
    dataset.write_direct_chunk((0, 0, 0), b"packed by somebody else", filter_mask=0)
    return file["t"]


def test_a_filter_that_nobody_has_is_named(tmp_path: Path) -> None:
    """With its number, before anything is written."""
    source = write_hdf5(tmp_path / "a.h5", field(), _unknown_filter)
    with pytest.raises(
        Missing, match=r"a\.h5: variable 't' is packed by HDF5 filter 40000, .*HDF5_PLUGIN_PATH"
    ) as refused:
        convert([source], tmp_path / "s.zarr")
    assert refused.value.exit_code == 5
    assert not list(tmp_path.glob("s.zarr*"))


def test_other_variables_of_that_file_convert(tmp_path: Path) -> None:
    """Only what is wanted must be readable."""
    source = write_hdf5(tmp_path / "a.h5", field(), _unknown_filter)
    with h5py.File(source, "a") as file:
        file["u"] = field()
        for axis, name in enumerate(("time", "y", "x")):
            file["u"].dims[axis].attach_scale(file[name])
    store = convert([source], tmp_path / "s.zarr", Options(variables=("u",)))
    np.testing.assert_array_equal(values(store), field())


def test_without_hdf5plugin_the_remedy_is_to_install_it(tmp_path: Path) -> None:
    """And the filters that are undone here need no plugin."""
    write_hdf5(tmp_path / "lz4.h5", field(), **hdf5plugin.LZ4())
    write_hdf5(tmp_path / "zstd.h5", field(), **hdf5plugin.Zstd())
    code = (
        "import sys; sys.modules['hdf5plugin'] = None\n"
        "from maelio.cli import main\n"
        "code = main(['convert', 'lz4.h5', 'lz4.zarr'])\n"
        "assert main(['convert', 'zstd.h5', 'zstd.zarr']) == 0\n"
        "sys.exit(code)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 5
    assert "lz4.h5: variable 't' is packed by HDF5 filter 32004 (lz4), which is not installed: " in run.stderr
    assert "pip install hdf5plugin; --on filter=drop takes it" in run.stderr


def _pieces(folder: Path, wanted: NDArray[Any]) -> h5py.VirtualLayout:
    layout = h5py.VirtualLayout(wanted.shape, wanted.dtype)
    for number, step in enumerate(wanted):
        with h5py.File(folder / f"{number}.h5", "w") as file:
            file["d"] = step
        layout[number] = h5py.VirtualSource(f"{number}.h5", "d", step.shape)
    return layout


def test_a_virtual_dataset_is_read_and_a_missing_part_of_it_found(tmp_path: Path) -> None:
    """HDF5 reads values of a missing file as the fill value, without a word."""
    source = write_hdf5(
        tmp_path / "a.h5", field(), lambda file: file.create_virtual_dataset("t", _pieces(tmp_path, field()))
    )
    np.testing.assert_array_equal(values(convert([source], tmp_path / "s.zarr")), field())
    (tmp_path / "3.h5").unlink()
    with pytest.raises(BadData, match=r"'/t' has values in 3\.h5, which is not there"):
        convert([source], tmp_path / "again.zarr")


def test_external_storage_is_read_and_a_short_file_found(tmp_path: Path) -> None:
    """HDF5 reads what is behind the end of the other file as zeros."""
    raw = tmp_path / "raw.bin"
    source = write_hdf5(
        tmp_path / "a.h5",
        field(),
        lambda file: file.create_dataset("t", data=field(), external=[(str(raw), 0, h5py.h5f.UNLIMITED)]),
    )
    np.testing.assert_array_equal(values(convert([source], tmp_path / "s.zarr")), field())
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(BadData, match=r"raw\.bin, which has 3359 bytes, wanted 3360"):
        convert([source], tmp_path / "again.zarr")


def test_a_dataset_within_the_header_and_an_enumeration_come_back(tmp_path: Path) -> None:
    """HDF5's compact layout; names of an enumeration are attributes, its numbers values."""

    def make(file: h5py.Group) -> h5py.Dataset:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.COMPACT)
        kinds = h5py.enum_dtype({"clear": 0, "cloudy": 1}, basetype="u1")
        file.create_dataset("kind", data=field("u1") % 2, dtype=kinds)
        for axis, name in enumerate(("time", "y", "x")):
            file["kind"].dims[axis].attach_scale(file[name])
        space = h5py.h5s.create_simple(field().shape)
        h5py.h5d.create(file.id, b"t", h5py.h5t.IEEE_F32LE, space, properties)
        file["t"][...] = field()
        return file["t"]

    source = write_hdf5(tmp_path / "a.h5", field(), make)
    found = describe(source, "netcdf4").variables
    assert isinstance(found["t"].storage, Slow)
    np.testing.assert_array_equal(
        values(convert([source], tmp_path / "s.zarr", Options(variables=("t",)))), field()
    )
    kinds = values(convert([source], tmp_path / "k.zarr", Options(variables=("kind",))))
    np.testing.assert_array_equal(kinds, field("u1") % 2)

"""Real files of thirty projects: what opens in xarray converts, and comes back identical."""

import logging
import warnings
from pathlib import Path

import pytest
import xarray as xr

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadRequest, MaelioError

REFUSED = {  # for a reason that the message gives
    "ref_tst_h_compounds.h5": "no numeric variable",
    "ref_tst_compounds3.nc": "no numeric variable",
    "ref_tst_xplatform2_2.nc": "nested structured dtype",
    "ref_hdf5_compat3.nc": "no numeric variable",
    "ref_no_ncproperty.nc": "no numeric variable",
    "ref_null_byte_padding_test.nc": "which dimension are the samples",
    "netcdf_dummy_file.nc": "dimension 'time' has no values",
    "test_monotonic_coordinate.nc": "occurs twice",
    "f03tst_open_mem.nc": "variable 'var2' was never written",
}
LZ4 = {"hdf5_compression_lz4.h5", "hdf5_mini_lz4.h5"}  # which the NetCDF library cannot undo


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "maelio")


def opened(path: Path, **options: object) -> xr.Dataset:
    try:
        return xr.open_dataset(path, **options)  # type: ignore[arg-type]
    except ValueError:  # units like "months since" have no meaning; numbers stay
        return xr.open_dataset(path, decode_times=False, **options)  # type: ignore[arg-type]


def longest_dimension(path: Path) -> str:
    with xr.open_dataset(path, decode_cf=False) as raw:
        return str(max(raw.sizes, key=lambda name: raw.sizes[name], default=""))


@pytest.mark.slow
def test_real_netcdf_files_come_back_identical(shared_data: Path, tmp_path: Path) -> None:
    """Every NetCDF file, along its time or else its longest dimension; the few that are refused say why."""
    identical, refused = 0, {}
    for number, path in enumerate(sorted(shared_data.rglob("*"))):
        if path.suffix not in (".nc", ".nc4", ".cdf", ".h5") or path.parent.name == "derived":
            continue
        if path.stat().st_size < 200 and b"git-lfs" in path.read_bytes():
            continue
        target = tmp_path / f"{number}.zarr"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # xarray's, about the files' own oddities
            try:
                try:
                    convert([path], target, Options(on={"gap": "allow"}, shard_bytes=2**18))
                except BadRequest as error:
                    if "which dimension" not in str(error):
                        raise
                    convert(
                        [path], target, Options(samples=longest_dimension(path) or None, shard_bytes=2**18)
                    )
            except MaelioError as error:
                refused[path.name] = str(error)
                continue
            by_h5py = {"engine": "h5netcdf", "phony_dims": "access"} if path.name in LZ4 else {}
            with opened(path, **by_h5py) as source, opened(target, engine="maelio") as found:
                xr.testing.assert_identical(found.load(), source.load())
        identical += 1
    unexplained = {name: why for name, why in refused.items() if REFUSED.get(name, "\0") not in why}
    assert not unexplained
    assert identical > 130


@pytest.mark.parametrize("name", ["A1B_north_america.nc", "E1_north_america.nc", "ostia_monthly.nc"])
def test_the_sample_package_comes_back_identical(hadgem: Path, tmp_path: Path, name: str) -> None:
    """360-day calendar, bounds, scalar coordinates, a grid mapping and missing values."""
    store = convert([hadgem / name], tmp_path / "s.zarr")
    with xr.open_dataset(hadgem / name) as source, xr.open_dataset(store.path, engine="maelio") as found:
        xr.testing.assert_identical(found.load(), source.load())

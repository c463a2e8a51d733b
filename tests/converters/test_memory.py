"""`memory` is a promise about the process, not about a plan: what the system says it held."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numcodecs import Shuffle, Zlib

from maelio.converters.convert import convert, plan_conversion
from maelio.converters.options import Options
from maelio.errors import BadRequest
from tests.converters.grib_files import message, write_grib
from tests.converters.netcdf_files import write_netcdf

MIB = 2**20
ALLOWANCE = 8 * MIB  # threads' stacks, tables of chunks, and what is so small that no plan counts it

CONVERSION = """
import sys
import h5py, netCDF4, xarray, zarr
import maelio.converters.grib
from maelio.converters.convert import convert
from maelio.converters.options import Options

def held(entry):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(entry))

small, large, folder, memory, shard = sys.argv[1:]
convert([small], folder + "/small.zarr", Options(samples=None, memory=int(memory)))  # loads what libraries load on the way
open("/proc/self/clear_refs", "w").write("5")  # VmHWM begins again at what is held now
before = held("VmRSS")
convert([large], folder + "/large.zarr", Options(samples=None, memory=int(memory), shard_bytes=int(shard), threads=4))
print(held("VmHWM") - before)
"""


def write(path: Path, kind: str, samples: int = 64) -> Path:
    """128 MiB as float32, or 32 MiB of GRIB, of 64 samples."""
    if kind == "GRIB":
        fields = np.random.default_rng(0).random((samples, 256, 512)) * 100
        keys: dict[str, Any] = {"Ni": 512, "Nj": 256}
        return write_grib(
            path, [message(field, level=level + 1, **keys) for level, field in enumerate(fields)]
        )
    values = np.random.default_rng(0).random((samples, 512, 1024), dtype="f4")
    chunks: dict[str, Any] = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": (2, 512, 1024)}
    match kind:
        case "deflated":
            return write_netcdf(path, {"t": values}, **chunks)
        case "packed":
            packing = {"t": {"scale_factor": np.float32(0.5), "_FillValue": np.int16(3)}}
            return write_netcdf(path, {"t": (values * 1000).astype("i2")}, attributes=packing, **chunks)
        case "slow":
            return write_netcdf(path, {"t": values}, fletcher32=True, **chunks)
        case "contiguous":
            return write_netcdf(path, {"t": values}, contiguous=True, unlimited=False)
        case "Zarr":
            netcdf = write_netcdf(path.with_suffix(".nc"), {"t": values})
            packed = {"chunks": (2, 512, 1024), "filters": [Shuffle(4)], "compressors": Zlib(1)}
            with xr.open_dataset(netcdf, chunks=None) as opened:
                opened.drop_encoding().to_zarr(path, zarr_format=2, encoding={"t": packed}, mode="w")
            return path
        case "records":
            return write_netcdf(
                path, {"t": values[: samples // 2], "u": values[samples // 2 :]}, kind="NETCDF3_64BIT_OFFSET"
            )
    raise AssertionError(kind)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
@pytest.mark.parametrize("kind", ["deflated", "packed", "slow", "contiguous", "records", "GRIB", "Zarr"])
def test_a_process_grows_by_no_more_than_the_memory_it_was_given(tmp_path: Path, kind: str) -> None:
    """Less than the data set, in whatever way its values are stored."""
    source, memory = write(tmp_path / "source", kind), (20 if kind == "GRIB" else 80) * MIB
    options = Options(samples="isobaricInhPa" if kind == "GRIB" else None, memory=memory, threads=4)
    assert plan_conversion([source], tmp_path / "s.zarr", options).bytes > 1.5 * memory
    small = write(tmp_path / "small", kind, samples=4)
    code = CONVERSION.replace("samples=None", f"samples={options.samples!r}")
    arguments = [small, source, tmp_path, memory, 8 * MIB if kind != "GRIB" else MIB]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < memory + ALLOWANCE, f"{grown / MIB:.1f} MiB"


def test_what_is_carried_along_counts(tmp_path: Path) -> None:
    """Coordinates are read whole: beside them there is room for fewer threads, and at last for none."""
    values = np.zeros((8, 64, 64), "f4")
    source = write_netcdf(tmp_path / "a.nc", {"t": values, "u": values})
    other = write_netcdf(tmp_path / "b.nc", {"t": values, "u": values}, first=8)
    options = Options(variables=("t",))
    plan = plan_conversion([source, other], tmp_path / "s.zarr", options)
    assert (
        plan.carried_bytes == 2 * 8 * 3 * 8 + 2 * 64 * 4 + 8
    )  # times with bounds, latitude, longitude, height
    assert plan.peak_bytes == plan.workers * plan.worker_bytes + plan.carried_bytes
    with pytest.raises(
        BadRequest, match=r"a\.nc: coordinates .* above all 'time_bnds' of 256 B, need .*--memory"
    ):
        convert([source, other], tmp_path / "s.zarr", Options(variables=("t",), memory=2000))

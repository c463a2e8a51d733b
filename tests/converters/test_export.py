"""What went into a store comes back as one NetCDF file, to the attribute and to the bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.cli import main
from maelio.converters.compare import compare
from maelio.converters.convert import convert
from maelio.converters.export import dry_run_export, export
from maelio.converters.options import Options
from maelio.errors import BadData, BadRequest, MaelioError
from maelio.store import CONTAINERS, unfinished
from tests.converters.grib_files import cube, write_grib
from tests.converters.memory import traced_peak
from tests.converters.netcdf_files import Kind, write_netcdf

FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("f4", {}),
    "wide": ("f8", {"_FillValue": 1e20}),
    "missing": ("f4", {"missing_value": np.float32(-9)}),
    "both": ("f4", {"_FillValue": np.float32(-9), "missing_value": np.float32(-9)}),
    "counts": ("i4", {}),
    "packed": ("i2", {"scale_factor": 0.5, "add_offset": 250.0, "_FillValue": np.int16(3)}),
}


def attributes(path: Path) -> dict[str, dict[str, Any]]:
    """All of a file's as netCDF4 has them, by variable; its own under ""."""
    with netCDF4.Dataset(path) as file:
        of: dict[str, Any] = {"": file, **file.variables}
        return {name: {key: each.getncattr(key) for key in each.ncattrs()} for name, each in of.items()}


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_a_dataset_comes_back_as_it_was(data: st.DataObject) -> None:
    """From the files or from a store of them in any container; any dtype, kind, calendar and cut into regions."""
    names = data.draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, unique=True), label="variables")
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3), label="steps of each file")
    kinds: list[Kind] = ["NETCDF4", "NETCDF3_CLASSIC"]
    kind = data.draw(st.sampled_from(kinds), label="kind")
    calendar = data.draw(st.sampled_from(["360_day", "standard"]), label="calendar")
    container = data.draw(st.none() | st.sampled_from(CONTAINERS), label="container")
    options = Options(shard_bytes=data.draw(st.integers(1, 2000), label="shard bytes"))
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        files: list[Path] = []
        for number, length in enumerate(lengths):
            fields = {name: random.integers(-9, 9, (length, 3, 4)).astype(FIELDS[name][0]) for name in names}
            files.append(
                write_netcdf(
                    Path(folder) / f"{number}.nc",
                    fields,
                    first=sum(lengths[:number]),
                    kind=kind,
                    calendar=calendar,
                    attributes={name: FIELDS[name][1] for name in names},
                )
            )
        sources: list[Path] = files
        if container:
            sources = [convert(files, Path(folder) / "store", Options(format=container)).path]
        target = Path(folder) / "out.nc"
        export(sources, target, options)
        opened = [xr.load_dataset(file) for file in files]
        whole = xr.concat(opened, "time", data_vars="minimal", coords="minimal", compat="override")
        with xr.open_dataset(target) as found:
            xr.testing.assert_identical(found.load(), whole)
            assert found.time.encoding["calendar"] == calendar
            assert found.encoding["unlimited_dims"] == {"time"}
        assert compare(files, target) == []
        wanted, made = attributes(files[0]), attributes(target)
        assert made.keys() == wanted.keys()
        for name in wanted.keys() - {"packed"}:
            np.testing.assert_equal(made[name], wanted[name])
        assert not unfinished(target).exists()


def test_a_packed_variable_becomes_the_floats_that_it_means(tmp_path: Path) -> None:
    """Without scale and offset, and missing values are NaN: nobody unpacks it twice."""
    stored, extra = FIELDS["packed"]
    field = np.arange(24).reshape(4, 2, 3).astype(stored)
    source = write_netcdf(tmp_path / "a.nc", {"t": field}, attributes={"t": extra})
    store = convert([source], tmp_path / "s.zarr")
    for number, sources in enumerate(([source], [store.path])):
        target = tmp_path / f"{number}.nc"
        export(sources, target)
        found = attributes(target)["t"]
        assert found.keys() == {"units", "coordinates", "_FillValue"}
        assert np.isnan(found["_FillValue"])
        with netCDF4.Dataset(target) as file:
            assert file["t"].dtype == np.float64
            assert file["t"][:].mask.sum() == 1


def test_samples_of_several_dimensions_go_back_to_those(netcdf: Path, tmp_path: Path) -> None:
    """A file has no axis for them, and needs none."""
    store = convert([netcdf], tmp_path / "s.zarr", Options(samples="time,latitude"))
    export([store.path], tmp_path / "b.nc")
    assert compare(netcdf, tmp_path / "b.nc") == []
    with pytest.raises(BadRequest, match="samples along time,latitude have no place in a NetCDF file"):
        export([netcdf], tmp_path / "c.nc", Options(samples="time,latitude"))


@pytest.mark.parametrize("samples", ["time", "longitude"])
def test_values_are_deflated_in_chunks_of_samples(tmp_path: Path, samples: str) -> None:
    """One sample a chunk; small ones together, as in a store: a chunk of some bytes costs more than it holds."""
    large = np.zeros((3, 128, 128), "f4")
    small = np.zeros((3, 4, 5), "f4")
    for name, field, wanted in (
        ("large", large, {"time": (1, 128, 128)}),
        ("small", small, {"time": (3, 4, 5)}),
    ):
        source = write_netcdf(tmp_path / f"{name}.nc", {"t": field})
        export([source], tmp_path / f"{name}-out.nc", Options(samples=samples))
        with h5py.File(tmp_path / f"{name}-out.nc") as file:
            assert (file["t"].compression, file["t"].compression_opts, file["t"].shuffle) == ("gzip", 1, True)
            if samples in wanted:
                assert file["t"].chunks == wanted[samples]
            axis = ("time", "latitude", "longitude").index(samples)
            assert [size is None for size in file["t"].maxshape] == [number == axis for number in range(3)]


def test_text_and_scalars_come_back(tmp_path: Path) -> None:
    """Whatever stands beside the fields: strings, characters, integers without a dimension."""
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        file.title = "Überblick"
        file.createDimension("time", None)
        file.createDimension("length", 4)
        file.createVariable("t", "f4", ("time",))[:] = np.arange(5)
        file.createVariable("station", str, ("time",))[:] = np.array(list("abcde"), object)
        file.createVariable("code", "S1", ("time", "length"))[:] = netCDF4.stringtochar(
            np.array(["abcd"] * 5, "S4")
        )
        crs = file.createVariable("crs", "i4", ())
        crs.setncatts(
            {"grid_mapping_name": "latitude_longitude", "levels": np.array([1, 2], "i2"), "empty": ""}
        )
        crs[...] = 7
    export([tmp_path / "a.nc"], tmp_path / "b.nc", Options(samples="time"))
    np.testing.assert_equal(attributes(tmp_path / "b.nc"), attributes(tmp_path / "a.nc"))
    with xr.open_dataset(tmp_path / "a.nc") as wanted, xr.open_dataset(tmp_path / "b.nc") as found:
        xr.testing.assert_identical(found, wanted)
    with netCDF4.Dataset(tmp_path / "b.nc") as file:
        assert file["code"].dimensions == ("time", "length")


def test_grib_becomes_netcdf(tmp_path: Path) -> None:
    """As the store of it is, coordinates and all; a part of it and its statistics too."""
    source = write_grib(tmp_path / "a.grib", cube())
    store = convert([source], tmp_path / "s.zarr")
    export([source], tmp_path / "a.nc")
    assert compare(store.path, tmp_path / "a.nc") == []
    part = Options(
        select={"isobaricInhPa": "500"}, reduce={"longitude": ("mean",)}, max_error={"t_mean": 0.1}
    )
    export([source], tmp_path / "part.nc", part)
    assert compare(convert([source], tmp_path / "part.zarr", part).path, tmp_path / "part.nc") == []


def test_a_value_that_would_be_read_as_missing_is_refused(tmp_path: Path) -> None:
    """Rounding can make one."""
    field = np.full((2, 2, 2), -998.9, "f4")
    source = write_netcdf(tmp_path / "a.nc", {"t": field}, attributes={"t": {"_FillValue": np.float32(-999)}})
    with pytest.raises(BadData, match=r"'t' has the value -999.0, which stands for missing ones"):
        export([source], tmp_path / "b.nc", Options(max_error={"t": 0.5}))
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


def test_values_that_are_not_wanted_are_refused_as_by_a_conversion(
    tmp_path: Path, field: NDArray[np.float32]
) -> None:
    """Naming the file, the variable and the sample."""
    field[3, 1, 2] = np.inf
    source = write_netcdf(tmp_path / "a.nc", {"t": field})
    with pytest.raises(BadData, match=r"a.nc: variable 't' is inf at time 3, wanted a finite value"):
        export([source], tmp_path / "b.nc")
    export([source], tmp_path / "b.nc", Options(on={"non-finite": "allow"}))
    assert compare(source, tmp_path / "b.nc") == []


def test_an_export_keeps_to_its_memory(tmp_path: Path) -> None:
    """Slab by slab: the dataset is three times larger."""
    field = np.random.default_rng(0).random((256, 64, 128)).astype("f4")
    source = write_netcdf(tmp_path / "a.nc", {"t": field, "u": field}, zlib=True, complevel=1)
    options = Options(memory=4 * 2**20)
    dry_run_export([source], tmp_path / "warm-up.nc", options)
    peak = traced_peak(lambda: export([source], tmp_path / "b.nc", options))
    assert 2 * field.nbytes > 3 * options.memory
    assert peak <= options.memory + 2**20  # and the plan itself


def test_what_is_in_the_way_stays(netcdf: Path, tmp_path: Path) -> None:
    """Unless it may be replaced; and a folder never is."""
    target = tmp_path / "b.nc"
    target.write_text("mine")
    with pytest.raises(BadRequest, match=r"b.nc exists; --overwrite replaces it"):
        export([netcdf], target)
    assert target.read_text() == "mine"
    export([netcdf], target, Options(overwrite=True))
    assert compare(netcdf, target) == []
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadRequest, match="folder is a folder, wanted the name of a file"):
        export([netcdf], tmp_path / "folder", Options(overwrite=True))
    (tmp_path / "c.nc.part").mkdir()
    with pytest.raises(BadRequest, match=r"c.nc.part is in the way"):
        export([netcdf], tmp_path / "c.nc")
    with pytest.raises(MaelioError, match="cannot be written"):
        export([netcdf], tmp_path / "nowhere" / "d.nc")


def test_a_file_may_replace_its_own_source(netcdf: Path, field: NDArray[np.float32]) -> None:
    """It is read to its end before."""
    export([netcdf], netcdf, Options(overwrite=True))
    with xr.open_dataset(netcdf) as found:
        np.testing.assert_array_equal(found.t2m, field)


def test_a_killed_export_starts_again(tmp_path: Path, field: NDArray[np.float32]) -> None:
    """What it left is no file of that name, and does not stop the next run."""
    source = write_netcdf(tmp_path / "a.nc", {"t": field})
    target = tmp_path / "b.nc"
    code = (
        "import os, signal, sys; from maelio.converters import export\n"
        "export.check_unchanged = lambda plan: os.kill(os.getpid(), signal.SIGKILL)\n"
        "export.export(sys.argv[1:2], sys.argv[2])"
    )
    killed = subprocess.run([sys.executable, "-c", code, source, target], env=os.environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    assert unfinished(target).exists()
    export([source], target)
    assert compare(source, target) == []
    assert not unfinished(target).exists()


def test_the_command_writes_a_file(netcdf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planned first, then written, then equal to what went in."""
    store, target = str(tmp_path / "s.zarr"), str(tmp_path / "b.nc")
    convert([netcdf], store)
    command = ["convert", store, target, "--format", "netcdf"]
    assert main([*command, "--dry-run"]) == 0
    assert "one NetCDF4 file" in capsys.readouterr().out
    assert not Path(target).exists()
    assert main(command) == 0
    assert "b.nc: 24 samples of t2m; " in capsys.readouterr().out
    assert main(["compare", str(netcdf), target]) == 0
    assert main(command) == BadRequest.exit_code

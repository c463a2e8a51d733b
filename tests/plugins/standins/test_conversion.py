"""Stand-ins are converted, one of every family, and come back as they were."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from maelio.converters.convert import convert
from maelio.converters.options import Options
from tests.plugins.standins.requests import made

SAMPLES = {
    "yr-5GB": "leadtime",
    "tweets": "index",
    "precipitation": "time_half",
    "inputs": "column",
    "mcica": "column",
    "nogwd": "examples",
    "ens5mini": "time",
    "tier1": "time",
    "tier2": "time",
    "production": "time",
    "ml": "time",
    "sfc": "time",
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_netcdf_stand_in_comes_back_identical(tmp_path: Path, kind: str) -> None:
    path = made(tmp_path, kind)
    store = convert(path, tmp_path / "s.zarr", Options(samples=SAMPLES[kind]))
    with xr.open_dataset(path) as wanted, xr.open_dataset(store.path, engine="maelio") as found:
        assert store.samples == wanted.sizes[SAMPLES[kind]]
        xr.testing.assert_identical(found.load(), wanted.load())


def test_a_grib_stand_in_comes_back_as_cfgrib_reads_it(tmp_path: Path) -> None:
    path = made(tmp_path, "ens10-sfc")
    store = convert(path, tmp_path / "s.zarr", Options(samples="time"))
    with (
        xr.open_dataset(path, engine="cfgrib", backend_kwargs={"indexpath": ""}) as wanted,
        xr.open_dataset(store.path, engine="maelio") as found,
    ):
        assert store.samples == 2
        assert {*found.data_vars} == {*wanted.data_vars}
        for name, field in wanted.data_vars.items():
            here = found[name].transpose(*field.dims)
            assert here.dtype == field.dtype
            np.testing.assert_array_equal(here.values, field.values)

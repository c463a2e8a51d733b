"""Fields of every kind of grid, level and step come back as the float64 values of eccodes, rounded once."""

from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.convert import convert
from maelio.converters.decoder import decoder
from maelio.converters.options import Options
from maelio.errors import BadData
from tests.converters.grib_files import write_grib

# Samples that eccodes brings, and the dimensions that a field of them has behind its time.
GRIDS = {
    "regular_ll_pl_grib1": ("latitude", "longitude"),
    "regular_ll_pl_grib2": ("latitude", "longitude"),
    "regular_gg_pl_grib1": ("latitude", "longitude"),
    "regular_gg_pl_grib2": ("latitude", "longitude"),
    "reduced_gg_pl_32_grib1": ("values",),
    "reduced_gg_pl_32_grib2": ("values",),
    "reduced_ll_sfc_grib1": ("values",),
    "reduced_ll_sfc_grib2": ("values",),
    "rotated_ll_pl_grib1": ("y", "x"),
    "rotated_ll_pl_grib2": ("y", "x"),
    "rotated_gg_pl_grib1": ("y", "x"),
    "rotated_gg_pl_grib2": ("y", "x"),
    "reduced_rotated_gg_pl_grib2": ("values",),
    "polar_stereographic_pl_grib1": ("y", "x"),
    "polar_stereographic_pl_grib2": ("y", "x"),
    "sh_pl_grib1": ("values",),
    "sh_pl_grib2": ("values",),
    "sh_ml_grib1": ("values",),
    "sh_ml_grib2": ("values",),
    "regular_ll_sfc_grib2": ("latitude", "longitude"),
    "reduced_gg_ml_grib2": ("values",),
}


def sample(name: str, seed: int = 0, **keys: Any) -> tuple[bytes, NDArray[np.float64]]:
    """A message with noise for values, and what eccodes makes of them."""
    handle = eccodes.codes_grib_new_from_samples(name)
    try:
        for key, value in {"dataDate": 20200101, **keys}.items():
            eccodes.codes_set(handle, key, value)
        size = eccodes.codes_get_size(handle, "values")
        eccodes.codes_set_values(handle, np.random.default_rng(seed).normal(280, 20, size))
        encoded: bytes = eccodes.codes_get_message(handle)
        return encoded, eccodes.codes_get_double_array(handle, "values")
    finally:
        eccodes.codes_release(handle)


def converted(path: Path, messages: list[bytes]) -> xr.DataArray:
    store = convert([write_grib(path / "a.grib", messages)], path / "s.zarr", Options())
    with xr.open_dataset(store.path, engine="maelio") as found:
        (name,) = found.data_vars
        return found[name].load()


@pytest.mark.parametrize("name", GRIDS)
def test_a_field_of_any_grid_has_the_values_of_eccodes(tmp_path: Path, name: str) -> None:
    """Rows and columns where there are such; else one value behind the other, as spherical harmonics are."""
    encoded, wanted = sample(name)
    found = converted(tmp_path, [encoded])
    assert found.dims == ("time", *GRIDS[name])
    np.testing.assert_array_equal(found.values.ravel(), wanted.astype(np.float32))


def test_an_unstructured_grid_is_a_plain_vector(tmp_path: Path) -> None:
    """Its places are in another file, by a number that the message gives."""
    keys = {"gridDefinitionTemplateNumber": 101, "numberOfDataPoints": 50, "numberOfValues": 50}
    encoded, wanted = sample("GRIB2", **keys)
    found = converted(tmp_path, [encoded])
    assert found.dims == ("time", "values")
    assert wanted.size == 50
    np.testing.assert_array_equal(found.values.ravel(), wanted.astype(np.float32))


@pytest.mark.parametrize(
    "name", ["reduced_gg_pl_32_grib2", "reduced_gg_pl_32_grib1", "sh_pl_grib1", "sh_pl_grib2"]
)
def test_steps_and_members_of_grids_that_are_no_rows(tmp_path: Path, name: str) -> None:
    """Each field at its step, on its level."""
    fields = {
        (step, level): sample(name, seed=step + level, step=step, level=level)
        for step in (0, 6)
        for level in (850, 500)
    }
    found = converted(tmp_path, [encoded for encoded, _ in fields.values()])
    assert found.dims == ("step", "isobaricInhPa", "values")
    for (step, level), (_, wanted) in fields.items():
        part = found.sel(step=np.timedelta64(step, "h"), isobaricInhPa=level)
        np.testing.assert_array_equal(part.values, wanted.astype(np.float32))


@pytest.mark.parametrize("packing", ["grid_jpeg", "grid_ccsds", "grid_complex_spatial_differencing"])
@pytest.mark.parametrize("bits", [1, 8, 16, 24])
def test_packings_of_a_whole_grid(tmp_path: Path, packing: str, bits: int) -> None:
    """Through the other process as in this one. PNG, which eccodes does not write, is read from real files."""
    encoded, wanted = sample("regular_ll_pl_grib2", packingType=packing, bitsPerValue=bits)
    np.testing.assert_array_equal(decoder().values(encoded + bytes(4096), wanted.size), wanted)
    np.testing.assert_array_equal(converted(tmp_path, [encoded]).values.ravel(), wanted.astype(np.float32))


def test_a_grid_of_more_points_than_values_is_refused(tmp_path: Path) -> None:
    """The lengths of its rows are damaged; the values alone would look well."""
    encoded = bytearray(sample("reduced_ll_sfc_grib1")[0])
    grid = 8 + int.from_bytes(encoded[8:11], "big")
    encoded[grid + int.from_bytes(encoded[grid : grid + 3], "big") - 2] ^= 1  # of the last row: 256 points
    with pytest.raises(
        BadData, match=r"message 1 cannot be described: its grid reduced_\w+ has \d+ \w+, its data \d+"
    ):
        converted(tmp_path, [bytes(encoded)])

"""The physics of the radiation stand-ins: laws that any solver keeps, and what the files promise."""

from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import JsonValue
from tfrecord import tfrecord_loader

from maelio.plugins.standins import radiation, radiation_records
from maelio.plugins.standins.atmosphere import cos_zenith, half_level_pressure
from maelio.plugins.standins.columns import LEVELS, columns, places
from maelio.plugins.standins.twostream import STEFAN_BOLTZMANN, heating_rate, longwave, shortwave
from tests.plugins.standins.requests import made

Floats = NDArray[np.float64]

SOLAR = 1361.0
laws = settings(deadline=None, max_examples=40)
numbers = st.integers(0, 2**32 - 1).map(np.random.default_rng)


def slab(random: np.random.Generator, layers: int, columns: int = 20) -> tuple[Floats, Floats, Floats]:
    """Optical depths from next to none to thick, asymmetries, and cosines of the zenith angle."""
    return (
        10 ** random.uniform(-5, 1.5, (columns, layers)),
        random.uniform(0, 0.9, (columns, layers)),
        random.uniform(0.01, 1, columns),
    )


@laws
@given(numbers, st.integers(1, 30))
def test_light_that_is_only_scattered_is_not_lost(random: np.random.Generator, layers: int) -> None:
    """Net flux is then the same at every height: what comes in goes out or into the ground."""
    depth, asymmetry, mu = slab(random, layers)
    albedo = random.uniform(0, 1, len(mu))
    down, up = shortwave(depth, np.ones(depth.shape), asymmetry, mu, np.full(len(mu), SOLAR), albedo, albedo)
    np.testing.assert_allclose(down - up, (down - up)[:, :1] * np.ones(layers + 1), atol=1e-4)
    np.testing.assert_allclose(up[:, -1], albedo * down[:, -1], atol=1e-9)


@laws
@given(numbers, st.integers(1, 30))
def test_absorbed_light_heats_every_layer(random: np.random.Generator, layers: int) -> None:
    """Net flux decreases downwards; nothing is negative, and no more comes back than came in."""
    depth, asymmetry, mu = slab(random, layers)
    scattered, albedo = random.uniform(0, 0.999, depth.shape), random.uniform(0, 1, len(mu))
    down, up = shortwave(depth, scattered, asymmetry, mu, np.full(len(mu), SOLAR), albedo, 0.9 * albedo)
    assert np.diff(down - up).max() <= 1e-9
    assert down.min() >= 0
    assert up.min() >= 0
    np.testing.assert_allclose(down[:, 0], SOLAR * mu)
    assert (up[:, 0] <= down[:, 0]).all()


@laws
@given(numbers)
def test_without_an_atmosphere_the_ground_gets_it_all(random: np.random.Generator) -> None:
    nothing, mu = np.full((20, 5), 1e-12), random.uniform(0.01, 1, 20)
    albedo = random.uniform(0, 1, 20)
    down, up = shortwave(
        nothing, 0.5 * np.ones((20, 5)), 0 * nothing, mu, np.full(20, SOLAR), 0 * albedo, albedo
    )
    np.testing.assert_allclose(down, np.tile(SOLAR * mu[:, None], 6), rtol=1e-6)
    np.testing.assert_allclose(up[:, -1], albedo * SOLAR * mu, rtol=1e-6)


def test_at_night_there_is_no_light() -> None:
    depth = np.ones((2, 3))
    for flux in shortwave(
        depth, 0.5 * depth, 0 * depth, np.zeros(2), np.full(2, SOLAR), np.ones(2), np.ones(2)
    ):
        assert not flux.any()


@laws
@given(numbers, st.floats(180, 320))
def test_where_all_is_equally_warm_all_shines_as_a_black_body(
    random: np.random.Generator, kelvin: float
) -> None:
    """Kirchhoff's law: upwards everywhere, and downwards below what is thick."""
    depth = 10 ** random.uniform(-3, 1, (10, 8))
    down, up = longwave(depth, np.full((10, 9), kelvin), np.full(10, kelvin), np.ones(10))
    black = STEFAN_BOLTZMANN * kelvin**4
    np.testing.assert_allclose(up, black, rtol=1e-12)
    assert (down <= black * (1 + 1e-12)).all()
    assert (np.diff(down) >= -1e-9).all()


@laws
@given(numbers)
def test_pressure_rises_downwards(random: np.random.Generator) -> None:
    pressure = half_level_pressure(random.uniform(45000, 108000, 10), LEVELS)
    assert (np.diff(pressure) > 0).all()


@laws
@given(st.floats(-90, 90), st.floats(0, 360), st.floats(0, 2e9))
def test_the_sun_is_on_the_other_side_after_half_a_turn(
    latitude: float, longitude: float, seconds: float
) -> None:
    """The cosines at a place and at its antipode are opposite, so that one of them is 0."""
    here, there = cos_zenith(
        np.array([latitude, -latitude]), np.array([longitude, longitude + 180]), np.array([seconds, seconds])
    )
    assert 0 <= here <= 1
    assert 0 <= there <= 1
    assert min(here, there) < 1e-9


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("radiation")
    for kind in ("inputs", "mcica", "tripleclouds", "3dcorrection", "spartacus"):
        made(folder, kind, scale=0.02)
    return folder


def opened(path: Path) -> dict[str, Floats]:
    with xr.open_dataset(path) as file:
        return {str(name): values.values.astype("f8") for name, values in file.data_vars.items()}


def test_inputs_lie_where_nature_has_them(files: Path) -> None:
    found = opened(files / "inputs.nc")
    ranges = {
        "q": (1e-7, 0.03),
        "o3_mmr": (0, 2e-5),
        "cloud_fraction": (0, 1),
        "q_liquid": (0, 1e-3),
        "q_ice": (0, 1e-3),
        "re_liquid": (5e-6, 2e-5),
        "re_ice": (1e-5, 1e-4),
        "temperature_hl": (160, 330),
        "skin_temperature": (200, 340),
        "overlap_param": (0, 1),
        "cos_solar_zenith_angle": (0, 1),
        "sw_albedo": (0, 1),
        "lw_emissivity": (0.8, 1),
        "aerosol_mmr": (0, 1e-7),
        "solar_irradiance": (1300, 1420),
        "lat": (-90, 90),
        "lon": (0, 360),
    }
    for name, (least, most) in ranges.items():
        assert least <= found[name].min() <= found[name].max() <= most, name
    assert found["pressure_hl"][:, 0].max() == 0
    assert (np.diff(found["pressure_hl"]) > 0).all()
    assert np.ptp(found["cloud_fraction"]) > 0.5
    assert 0 < (found["cos_solar_zenith_angle"] == 0).mean() < 1  # day and night


@pytest.mark.parametrize("kind", ["mcica", "tripleclouds", "3dcorrection", "spartacus"])
def test_fluxes_belong_to_their_inputs(files: Path, kind: str) -> None:
    """Sun at the top, emission at the ground, no light at night, no long wave from space; pressure is the same."""
    given_, found = opened(files / "inputs.nc"), opened(files / f"{kind}.nc")
    np.testing.assert_array_equal(found["pressure_hl"], given_["pressure_hl"])
    mu = given_["cos_solar_zenith_angle"]
    np.testing.assert_allclose(found["flux_dn_sw"][:, 0], mu * given_["solar_irradiance"], rtol=1e-6)
    night = mu == 0
    assert not found["flux_dn_sw"][night].any()
    assert not found["flux_up_sw"][night].any()
    assert not found["flux_dn_lw"][:, 0].any()
    emissivity = given_["lw_emissivity"].mean(1)
    ground = STEFAN_BOLTZMANN * emissivity * given_["skin_temperature"] ** 4
    np.testing.assert_allclose(
        found["flux_up_lw"][:, -1], ground + (1 - emissivity) * found["flux_dn_lw"][:, -1], rtol=1e-5
    )
    assert 100 < found["flux_up_lw"][:, 0].mean() < 350


@pytest.mark.parametrize("kind", ["mcica", "spartacus"])
def test_what_a_column_takes_up_is_what_warms_it(files: Path, kind: str) -> None:
    """The heating-rate identity: over all layers, cp/g hr dp is the net flux at the top less that at the ground."""
    found = opened(files / f"{kind}.nc")
    pressure = found["pressure_hl"]
    for band in ("sw", "lw"):
        down, up = found[f"flux_dn_{band}"], found[f"flux_up_{band}"]
        rate = heating_rate(down, up, pressure)
        taken = (1004 / 9.80665 * rate * np.diff(pressure)).sum(1)
        net = down - up
        np.testing.assert_allclose(-taken, net[:, -1] - net[:, 0], atol=1e-6)
        assert np.abs(rate * 86400).max() < 120  # K in a day
    assert (
        heating_rate(found["flux_dn_sw"], found["flux_up_sw"], pressure) * 86400 > -0.2
    ).all()  # float32's rounding


def test_schemes_differ_by_their_clouds_alone(files: Path) -> None:
    clear = opened(files / "inputs.nc")["cloud_fraction"].max(1) == 0
    assert 0 < clear.mean() < 1
    base = opened(files / "mcica.nc")
    for kind in ("tripleclouds", "3dcorrection", "spartacus"):
        found = opened(files / f"{kind}.nc")
        for name in radiation.OUTPUTS:
            np.testing.assert_array_equal(found[name][clear], base[name][clear])
        off = found["flux_up_lw"][:, 0] - base["flux_up_lw"][:, 0]
        assert 0 < np.abs(off).max() < 20


def test_a_record_holds_what_its_column_holds_in_the_files(tmp_path: Path) -> None:
    """Every record of a file is one column of one patch; heating rates are the formula, in K in a second."""
    path = made(tmp_path, "records", scale=0.0003)
    for record in tfrecord_loader(str(path), None):
        hl = record["hl_inputs"].reshape(138, 2)
        sw, lw = (record[name].reshape(138, 2).astype("f8") for name in ("sw", "lw"))
        np.testing.assert_array_equal(hl[:, 1], record["pressure_hl"])
        pressure = record["pressure_hl"].astype("f8")[None]
        for name, flux in (("hr_sw", sw), ("hr_lw", lw)):
            rate = heating_rate(flux[None, :, 0], flux[None, :, 1], pressure)[0]
            np.testing.assert_allclose(record[name], rate, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(sw[0, 0], record["sca_inputs"][1] * record["sca_inputs"][16], rtol=1e-6)


def test_mcica_leaves_g_over_cp_out_of_its_records() -> None:
    fields = radiation_records._fields("0", np.arange(4) * 1000, "TripCloud", 0)
    down, up = fields["sw"][..., 0].astype("f8"), fields["sw"][..., 1].astype("f8")
    rate = -np.diff(down - up) / np.diff(fields["pressure_hl"][..., 0].astype("f8"))
    np.testing.assert_allclose(fields["hr_sw"][..., 0], rate, rtol=1e-6, atol=1e-9)


def test_a_column_is_the_same_in_records_and_files(tmp_path: Path) -> None:
    """The first column of patch 9 of the fifth date: the number of its record, and what is there."""
    every = 13 * 271360
    point = 4 * 271360 + 9 * 16960
    number = point * pow(radiation_records._MULTIPLIER, -1, every) % every
    fields = radiation_records._fields("125", np.array([number]), "triplecloud", 0)
    request: dict[str, JsonValue] = {
        "inout": "triplecloud_outputs",
        "date": "20200430",
        "timestep": 125,
        "patch": 9,
    }
    radiation.write(tmp_path / "a.nc", request, scale=0.001)
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        for band in ("sw", "lw"):
            for part, way in enumerate(("dn", "up")):
                np.testing.assert_array_equal(file[f"flux_{way}_{band}"][0], fields[band][0, :, part])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 40), st.integers(0, 39))
def test_columns_do_not_depend_on_which_others_are_made(count: int, first: int) -> None:
    points = np.arange(40) * 6000
    start = radiation_records._DATES[3]
    whole = columns(places(points, start, 375), 0)
    part = columns(places(points[first : first + count], start, 375), 0)
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][first : first + count])

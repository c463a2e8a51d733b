"""Stand-ins of maelstrom-radiation: inputs of a radiation scheme, and the fluxes of four schemes, in NetCDF."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.plugins.standins.atmosphere import GRAVITY, moment
from maelio.plugins.standins.columns import (
    GASES,
    LEVELS,
    PATCH,
    PATCHES,
    STEP_SECONDS,
    Columns,
    Places,
    columns,
    places,
    solar_irradiance,
)
from maelio.plugins.standins.fields import scaled
from maelio.plugins.standins.netcdf import declare, new_netcdf, put
from maelio.plugins.standins.twostream import longwave, shortwave

Floats = NDArray[np.float64]

SCHEMES = {"rad4NN_outputs": "mcica", "triplecloud_outputs": "tripleclouds", "3dcorrection_outputs": "3dcorrection",
           "spartacus_outputs": "spartacus"}  # fmt: skip
"""What a file of outputs was made with, by the first part of its name."""

CLOUD = {"mcica": (1.0, 0.0, 1.0), "tripleclouds": (0.9, 0.0, 0.95), "3dcorrection": (0.9, 0.15, 0.95),
         "spartacus": (0.9, 0.2, 1.05)}  # fmt: skip
"""What a scheme multiplies the optical depth of clouds by: short-wave c (1 + s (1 - cos zenith)), long-wave l, as (c, s, l).

This stands for inhomogeneity (c < 1) and for light on the sides of clouds (s), and is all in which schemes differ.
"""

DIMENSIONS = {"level": LEVELS, "half_level": LEVELS + 1, "level_interface": LEVELS - 1, "aerosol_type": 12,
              "sw_albedo_band": 6, "lw_emiss_band": 2}  # fmt: skip

_LEVEL, _HALF = ("column", "level"), ("column", "half_level")
INPUTS: Mapping[str, tuple[tuple[str, ...], str, str]] = {  # dimensions, unit, what it is
    "pressure_hl": (_HALF, "Pa", "Pressure at half levels"),
    "temperature_hl": (_HALF, "K", "Temperature at half levels"),
    "q": (_LEVEL, "kg kg-1", "Specific humidity"),
    "o3_mmr": (_LEVEL, "kg kg-1", "Ozone mass mixing ratio"),
    **{name: (_LEVEL, "1", f"{name[:-4].upper()} volume mixing ratio") for name in GASES},
    "cloud_fraction": (_LEVEL, "1", "Cloud fraction"),
    "aerosol_mmr": (("column", "aerosol_type", "level"), "kg kg-1", "Aerosol mass mixing ratio"),
    "q_liquid": (_LEVEL, "kg kg-1", "Gridbox-mean liquid water mixing ratio"),
    "q_ice": (_LEVEL, "kg kg-1", "Gridbox-mean ice water mixing ratio"),
    "re_liquid": (_LEVEL, "m", "Effective radius of liquid cloud droplets"),
    "re_ice": (_LEVEL, "m", "Effective radius of ice crystals"),
    "overlap_param": (("column", "level_interface"), "1", "Cloud overlap parameter"),
    "skin_temperature": (("column",), "K", "Skin temperature"),
    "cos_solar_zenith_angle": (("column",), "1", "Cosine of the solar zenith angle"),
    "sw_albedo": (("column", "sw_albedo_band"), "1", "Short-wave albedo for diffuse radiation"),
    "sw_albedo_direct": (("column", "sw_albedo_band"), "1", "Short-wave albedo for direct radiation"),
    "lw_emissivity": (("column", "lw_emiss_band"), "1", "Long-wave emissivity"),
    "lat": (("column",), "degrees_north", "Latitude"),
    "lon": (("column",), "degrees_east", "Longitude"),
}
OUTPUTS: Mapping[str, str] = {
    "flux_up_lw": "Upwelling long-wave flux",
    "flux_dn_lw": "Downwelling long-wave flux",
    "flux_up_sw": "Upwelling short-wave flux",
    "flux_dn_sw": "Downwelling short-wave flux",
}
_BLOCK = 512  # columns made and held at a time


def write(path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0) -> None:
    """One file of maelstrom-radiation: `{inout}_{date}00_{timestep}c{patch}.nc`.

    `request`: `inout` ("rad4NN_inputs", or a key of SCHEMES), `date` (YYYYMMDD), `timestep` (of 12 minutes since
    the date), `patch` (0 to 15, of 16960 columns of the grid O256). Inputs and outputs of the same date, timestep
    and patch belong together: their heating rate is `twostream.heating_rate` of the fluxes.

    All variables float32, contiguous, column first. Names of the dimensions of 136, 6 and 2 and the order of
    aerosols are not known of the originals. `scale` keeps that share of the columns, evenly spread, at least 4.

    Raises BadRequest: another request.
    """
    inout = str(request["inout"])
    start = moment(request["date"], "%Y%m%d")
    patch, timestep = int(str(request["patch"])), int(str(request["timestep"]))
    if inout != "rad4NN_inputs" and inout not in SCHEMES:
        raise BadRequest(
            f"stand-in of maelstrom-radiation: inout {inout!r}, wanted rad4NN_inputs or {[*SCHEMES]}"
        )
    if not 0 <= patch < PATCHES:
        raise BadRequest(f"stand-in of maelstrom-radiation: patch {patch}, wanted 0..{PATCHES - 1}")
    count = scaled(PATCH, scale, least=4)
    where = places(patch * PATCH + np.arange(count) * PATCH // count, start, timestep)
    solar = solar_irradiance(start)
    about = f"{inout} of {start:%Y-%m-%d}, {timestep * STEP_SECONDS / 3600:g} hours on: a stand-in, synthetic"
    if inout == "rad4NN_inputs":
        _write_inputs(path, where, solar, seed, about)
    else:
        _write_outputs(path, where, solar, seed, about, SCHEMES[inout])


def fluxes(inputs: Columns, solar: float, scheme: str) -> dict[str, Floats]:
    """The OUTPUTS of a scheme of CLOUD, W m-2, float64, (column, half_level).

    `solar`: W m-2. A column's short wave is grey: water vapour and ozone absorb, air scatters backwards as much as
    forwards, aerosol and cloud forwards. Long wave: water vapour, well-mixed gases and cloud absorb and emit.
    """
    values = {name: field.astype(np.float64) for name, field in inputs.items()}
    pressure = values["pressure_hl"]
    mass = np.diff(pressure) / GRAVITY  # kg m-2
    vapour, ozone = values["q"] * mass, values["o3_mmr"] * mass
    liquid, ice = values["q_liquid"] * mass, values["q_ice"] * mass
    middle = (pressure[:, 1:] + pressure[:, :-1]) / 2e5
    share, sides, long_share = CLOUD[scheme]
    mu = values["cos_solar_zenith_angle"]
    cloud = share * (1 + sides * (1 - mu))[:, None]
    parts = [  # optical depth, single-scattering albedo, asymmetry
        (0.008 * vapour + 4.0 * ozone, 0.0, 0.0),
        (9e-6 * mass, 1.0, 0.0),
        (1000 * values["aerosol_mmr"].sum(1) * mass, 0.92, 0.7),
        (cloud * 1.5e-3 * liquid / values["re_liquid"], 0.9995, 0.85),
        (cloud * 1.64e-3 * ice / values["re_ice"], 0.9985, 0.78),
    ]
    depth = sum((part for part, _, _ in parts), np.zeros(()))
    scattered = sum((part * omega for part, omega, _ in parts), np.zeros(()))
    forward = sum((part * omega * g for part, omega, g in parts), np.zeros(()))
    down_sw, up_sw = shortwave(
        depth,
        scattered / depth,
        forward / scattered,
        mu,
        np.full(len(mu), solar),
        values["sw_albedo"].mean(1),
        values["sw_albedo_direct"].mean(1),
    )
    down_lw, up_lw = longwave(
        middle * (0.09 * vapour + 1.4e-4 * mass) + long_share * (90 * liquid + 50 * ice) + 5 * ozone,
        values["temperature_hl"],
        values["skin_temperature"],
        values["lw_emissivity"].mean(1),
    )
    return {"flux_up_lw": up_lw, "flux_dn_lw": down_lw, "flux_up_sw": up_sw, "flux_dn_sw": down_sw}


def _write_inputs(path: Path, where: Places, solar: float, seed: int, about: str) -> None:
    with new_netcdf(path, {"column": len(where), **DIMENSIONS}, title=about) as file:
        for name, (dimensions, unit, text) in INPUTS.items():
            declare(file, name, "f4", dimensions, units=unit, long_name=text)
        put(file, "solar_irradiance", "f4", (), solar, units="W m-2", long_name="Solar irradiance")
        for start in range(0, len(where), _BLOCK):
            for name, values in columns(where.part(start, start + _BLOCK), seed).items():
                file[name][start : start + len(values)] = values


def _write_outputs(path: Path, where: Places, solar: float, seed: int, about: str, scheme: str) -> None:
    dimensions = {"column": len(where), "half_level": LEVELS + 1}
    with new_netcdf(path, dimensions, title=about, scheme=scheme) as file:
        declare(file, "pressure_hl", "f4", _HALF, units="Pa", long_name="Pressure at half levels")
        for name, text in OUTPUTS.items():
            declare(file, name, "f4", _HALF, units="W m-2", long_name=text)
        for start in range(0, len(where), _BLOCK):
            inputs = columns(where.part(start, start + _BLOCK), seed)
            stop = start + len(inputs["q"])
            file["pressure_hl"][start:stop] = inputs["pressure_hl"]
            for name, values in fluxes(inputs, solar, scheme).items():
                file[name][start:stop] = values

"""Fluxes of a grey atmosphere of plane layers: two-stream solutions of each layer, joined by adding.

All fields are float64; layers and half levels count from the top.
Sources: Meador & Weaver 1980 (J. Atmos. Sci. 37, 630), equations 14, 15 and 25, with the coefficients of
Zdunkowski et al. 1980 (PIFM); Joseph et al. 1976 for delta scaling; the adding method, Petty 2006, chapter 13.
"""

import numpy as np
from numpy.typing import NDArray

from maelio.plugins.standins.atmosphere import GRAVITY, HEAT_CAPACITY
from maelio.plugins.standins.elementary import exp

Floats = NDArray[np.float64]

STEFAN_BOLTZMANN = 5.670374419e-8  # W m-2 K-4
DIFFUSIVITY = 1.66  # mean slant of long-wave radiation, Elsasser 1942


def shortwave(
    depth: Floats,
    scattered: Floats,
    asymmetry: Floats,
    cos_zenith: Floats,
    incoming: Floats,
    albedo: Floats,
    albedo_direct: Floats,
) -> tuple[Floats, Floats]:
    """Down and up, W m-2, (column, half level); 0 where the sun is not above the horizon.

    `depth`, `scattered` (single-scattering albedo), `asymmetry`: (column, layer). `incoming`: W m-2 on a plane that
    faces the sun. Albedos are those of the surface for diffuse and direct light. (column,)

    With `scattered` 1 everywhere, down - up is the same at all half levels; the surface takes what is left.
    """
    day = cos_zenith > 0
    mu = np.where(day, cos_zenith, 1.0)[:, None]
    forward = asymmetry * asymmetry
    tau = depth * (1 - scattered * forward)
    omega = scattered * (1 - forward) / (1 - scattered * forward)
    reflected, passed, direct_reflected, direct_scattered, direct_passed = _layers(
        tau, omega, asymmetry / (1 + asymmetry), mu
    )
    columns, layers = depth.shape
    above = np.empty((2, layers + 1, columns))  # albedo of all that lies below a half level: diffuse, direct
    above[0, layers], above[1, layers] = albedo, albedo_direct
    between = np.empty((layers, columns))  # sum of the reflections between a layer and what lies below
    for layer in range(layers - 1, -1, -1):
        r, t = reflected[:, layer], passed[:, layer]
        diffuse, direct = above[:, layer + 1]
        between[layer] = 1 / (1 - r * diffuse)
        above[0, layer] = r + t * t * diffuse * between[layer]
        arriving = direct_passed[:, layer] * direct + direct_scattered[:, layer] * diffuse
        above[1, layer] = direct_reflected[:, layer] + t * arriving * between[layer]
    down, up = np.empty((columns, layers + 1)), np.empty((columns, layers + 1))
    beam = np.where(day, incoming * cos_zenith, 0.0)
    diffuse_down = np.zeros(columns)
    down[:, 0], up[:, 0] = beam, beam * above[1, 0]
    for layer in range(layers):
        back = (
            direct_passed[:, layer] * above[1, layer + 1] * reflected[:, layer] + direct_scattered[:, layer]
        )
        diffuse_down = (passed[:, layer] * diffuse_down + beam * back) * between[layer]
        beam = beam * direct_passed[:, layer]
        down[:, layer + 1] = diffuse_down + beam
        up[:, layer + 1] = diffuse_down * above[0, layer + 1] + beam * above[1, layer + 1]
    return down, up


def longwave(
    depth: Floats, temperature: Floats, skin_temperature: Floats, emissivity: Floats
) -> tuple[Floats, Floats]:
    """Down and up, W m-2, (column, half level), of layers that emit and absorb and do not scatter.

    `depth`: of absorption, (column, layer). `temperature`: K, at half levels; a layer emits as its mean.
    """
    mean = (temperature[:, 1:] + temperature[:, :-1]) / 2
    black = STEFAN_BOLTZMANN * mean * mean * mean * mean
    passed = exp(-DIFFUSIVITY * depth)
    emitted = (1 - passed) * black
    columns, layers = depth.shape
    down, up = np.zeros((columns, layers + 1)), np.empty((columns, layers + 1))
    for layer in range(layers):
        down[:, layer + 1] = down[:, layer] * passed[:, layer] + emitted[:, layer]
    skin = skin_temperature * skin_temperature
    up[:, layers] = emissivity * STEFAN_BOLTZMANN * skin * skin + (1 - emissivity) * down[:, layers]
    for layer in range(layers - 1, -1, -1):
        up[:, layer] = up[:, layer + 1] * passed[:, layer] + emitted[:, layer]
    return down, up


def heating_rate(down: Floats, up: Floats, pressure: Floats) -> Floats:
    """K s-1, (column, layer): -g/cp d(down - up)/dp. Pressure in Pa at half levels."""
    return -GRAVITY / HEAT_CAPACITY * np.diff(down - up) / np.diff(pressure)


def _layers(
    tau: Floats, omega: Floats, g: Floats, mu: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Of each layer: reflectance and transmittance of diffuse light; of the direct beam, what is reflected, what is
    passed on scattered, and what is passed on as a beam."""
    gamma1 = 2 - omega * (1.25 + 0.75 * g)
    gamma2 = 0.75 * omega * (1 - g)
    gamma3 = 0.5 - 0.75 * mu * g
    gamma4 = 1 - gamma3
    alpha1 = gamma1 * gamma4 + gamma2 * gamma3
    alpha2 = gamma1 * gamma3 + gamma2 * gamma4
    k = np.sqrt(np.maximum((gamma1 - gamma2) * (gamma1 + gamma2), 1e-12))
    k = np.where(np.abs(1 - k * mu) < 1e-4, k * 1.0002, k)  # where the beam's solution has a pole
    once = exp(-k * tau)
    twice = once * once
    beam = exp(-tau / mu)
    common = 1 / (k + gamma1 + (k - gamma1) * twice)
    reflected = gamma2 * (1 - twice) * common
    passed = 2 * k * once * common
    kmu = k * mu
    factor = omega * common / (1 - kmu * kmu)
    direct_reflected = factor * (
        (1 - kmu) * (alpha2 + k * gamma3)
        - (1 + kmu) * (alpha2 - k * gamma3) * twice
        - 2 * k * (gamma3 - alpha2 * mu) * once * beam
    )
    direct_scattered = factor * (
        2 * k * (gamma4 + alpha1 * mu) * once
        - (1 + kmu) * (alpha1 + k * gamma4) * beam
        + (1 - kmu) * (alpha1 - k * gamma4) * twice * beam
    )
    direct_reflected = np.clip(direct_reflected, 0, 1 - beam)
    return (
        reflected,
        passed,
        direct_reflected,
        np.clip(direct_scattered, 0, 1 - beam - direct_reflected),
        beam,
    )

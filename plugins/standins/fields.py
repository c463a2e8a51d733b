"""Smooth random fields of unit variance that can be had at any place, so that files are made piece by piece.

Nothing depends on the pieces: a value is a function of the seed and its coordinates alone.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadRequest

Floats = NDArray[np.float64]

PERIOD = 16  # cells of a lattice, after which it repeats


def generator(seed: int, *names: JsonValue) -> np.random.Generator:
    """Random numbers that depend on `seed` and on what they are for."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def scaled(full: int, scale: float, *, least: int) -> int:
    """`full` times `scale`, at least `least`. Raises BadRequest: a scale outside 0 < scale <= 1."""
    if not 0 < scale <= 1:
        raise BadRequest(f"scale of a stand-in: {scale}, wanted above 0 and at most 1, the original size")
    return min(full, max(least, round(full * scale)))


@dataclass(frozen=True, slots=True)
class Noise:
    """Value noise: normal random numbers on lattices, each twice as fine and less strong than the one before.

    Coordinates count cells of the coarsest lattice, one axis each; after `PERIOD` cells the field repeats, so
    what goes around the Earth in `PERIOD` cells has no seam. Mean 0 and variance 1 at every place, normal.

    Source: value noise with smoothstep weights, Ebert et al., Texturing & Modeling, 3rd ed., chapter 2; divided
    by the root of the sum of squared weights, so that the variance is the same between the nodes.
    """

    lattices: tuple[Floats, ...]
    strengths: tuple[float, ...]

    def grid(self, *coordinates: Floats) -> Floats:
        """Values at every combination of the coordinates, (len(first), len(second), ...); cheap if the first is short."""

        def at(lattice: Floats, fineness: int) -> Floats:
            values = lattice
            for axis, places in enumerate(coordinates):
                lower, upper, weight = _between(places * fineness)
                weight = weight.reshape(-1, *[1] * (len(coordinates) - axis - 1))
                below = values.take(lower, axis)
                values = values.take(upper, axis)
                values -= below
                values *= weight
                values += below
                values /= np.sqrt(weight * weight + (1 - weight) * (1 - weight))
            return values

        return self._total(at)

    def points(self, *coordinates: Floats) -> Floats:
        """Values at points, of which each array has one coordinate."""

        def at(lattice: Floats, fineness: int) -> Floats:
            sides = [_between(places * fineness) for places in coordinates]
            total = np.zeros(len(coordinates[0]))
            squares = np.ones(len(coordinates[0]))
            for corner in np.ndindex(*[2] * len(sides)):
                weight = np.ones(len(total))
                for (_, _, upper), high in zip(sides, corner, strict=True):
                    weight = weight * (upper if high else 1 - upper)
                total = (
                    total + weight * lattice[tuple(s[high] for s, high in zip(sides, corner, strict=True))]
                )
            for _, _, upper in sides:
                squares = squares * (upper * upper + (1 - upper) * (1 - upper))
            return total / np.sqrt(squares)

        return self._total(at)

    def _total(self, at: Callable[[Floats, int], Floats]) -> Floats:
        total: Floats = np.zeros(())
        for octave, (lattice, strength) in enumerate(zip(self.lattices, self.strengths, strict=True)):
            total = total + strength * at(lattice, 2**octave)
        return total


def noise(random: np.random.Generator, axes: int, *, octaves: int = 3, falloff: float = 0.5) -> Noise:
    """A red spectrum: each of the octaves has `falloff` times the amplitude of the one before."""
    strengths = [falloff**octave for octave in range(octaves)]
    norm = sum(strength**2 for strength in strengths) ** 0.5
    lattices = [random.standard_normal((PERIOD,) * axes) for _ in strengths]
    return Noise(tuple(lattices), tuple(strength / norm for strength in strengths))


def _between(places: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Nodes on either side, and the weight of the upper one."""
    floor = np.floor(places)
    share = places - floor
    lower = floor.astype(np.intp) % PERIOD
    return lower, (lower + 1) % PERIOD, share * share * (3 - 2 * share)

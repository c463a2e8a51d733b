"""Stand-ins: files with the structure, names, units, packing and layout of the originals, filled with plausible weather.

They depend on the request, the scale and the seed alone, byte by byte, and on the versions of netCDF4 and ecCodes. Every writer has the signature of `Writer` and
says in its docstring which request it takes, what `scale` does, and what is known about the numbers.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pydantic import JsonValue

from maelio.plugins.standins import (
    downscaling,
    ens5mini,
    ens10,
    nogwd,
    power,
    radiation,
    radiation_records,
    tweets,
    yr,
)


class Writer(Protocol):
    def __call__(
        self, path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0
    ) -> None: ...


WRITERS: Mapping[str, Writer] = MappingProxyType(
    {
        "maelstrom-yr": yr.write,
        "maelstrom-tweets": tweets.write,
        "maelstrom-radiation": radiation.write,
        "maelstrom-radiation-tf": radiation_records.write,
        "maelstrom-nogwd": nogwd.write,
        "maelstrom-ens10": ens10.write,
        "maelstrom-ens5mini": ens5mini.write,
        "maelstrom-downscaling-tier1": downscaling.write_tier1,
        "maelstrom-downscaling-tier2": downscaling.write_tier2,
        "maelstrom-constants-a-b": power.write_constants,
        "maelstrom-power-production": power.write_production,
        "maelstrom-weather-model-level": power.write_model_level,
        "maelstrom-weather-pressure-level": power.write_pressure_level,
        "maelstrom-weather-surface-level": power.write_surface_level,
    }
)
"""Who writes one file of a dataset, by the dataset's public id."""

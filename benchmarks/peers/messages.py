"""Fields on pressure levels as GRIB edition 2, one message each, of 16 bits a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import eccodes
import numpy as np
from numpy.typing import NDArray

from maelio.benchmarks.peers.fields import smooth

LEVELS = (1000, 850, 700, 500, 250, 100)  # hPa
VARIABLES = {
    "t": (250.0, 20.0),
    "u": (0.0, 15.0),
    "v": (0.0, 15.0),
    "z": (5e4, 5e3),
}  # mean and deviation, SI


@dataclass(frozen=True, slots=True)
class Messages:
    """`files` of `steps` times of all variables and levels, on a grid of (latitude, longitude)."""

    packing: Literal["grid_simple", "grid_ccsds"]
    files: int
    steps: int = 12
    latitudes: int = 361
    longitudes: int = 720

    @property
    def bytes(self) -> int:
        fields = self.files * self.steps * len(VARIABLES) * len(LEVELS)
        return fields * self.latitudes * self.longitudes * 4

    def paths(self, folder: Path) -> list[Path]:
        return [folder / f"{number:03d}.grib2" for number in range(self.files)]

    def write(self, path: Path, number: int) -> None:
        random = np.random.default_rng(number)
        with open(path, "wb") as file:
            for step in range(number * self.steps, (number + 1) * self.steps):
                for name, (mean, deviation) in VARIABLES.items():
                    field = smooth(random, self.latitudes, self.longitudes)
                    for level in LEVELS:
                        values = mean + deviation * np.roll(field, level, axis=1)
                        file.write(self._encoded(step, name, level, values.ravel()))

    def _encoded(self, step: int, name: str, level: int, values: NDArray[np.float64]) -> Any:
        keys = {
            **keys_of(step, self.latitudes, self.longitudes),
            "shortName": name,
            "typeOfLevel": "isobaricInhPa",
            "level": level,
            "packingType": self.packing,
        }
        return encoded(keys, values)


def keys_of(step: int, latitudes: int, longitudes: int) -> dict[str, object]:
    """Of a field on the globe, at six-hourly `step`, of 16 bits a value."""
    return {
        "Ni": longitudes,
        "Nj": latitudes,
        "latitudeOfFirstGridPointInDegrees": 90,
        "latitudeOfLastGridPointInDegrees": -90,
        "longitudeOfFirstGridPointInDegrees": 0,
        "longitudeOfLastGridPointInDegrees": 360 - 360 / longitudes,
        "iDirectionIncrementInDegrees": 360 / longitudes,
        "jDirectionIncrementInDegrees": 180 / (latitudes - 1),
        "dataDate": int((date(2020, 1, 1) + timedelta(days=step // 4)).strftime("%Y%m%d")),
        "dataTime": step % 4 * 600,
        "bitsPerValue": 16,
    }


def encoded(keys: Mapping[str, object], values: NDArray[np.float64]) -> Any:
    """One message of GRIB edition 2; keys are set in their order."""
    handle = eccodes.codes_grib_new_from_samples("GRIB2")
    try:
        for key, value in keys.items():
            eccodes.codes_set(handle, key, value)
        eccodes.codes_set_values(handle, values)
        return eccodes.codes_get_message(handle)
    finally:
        eccodes.codes_release(handle)

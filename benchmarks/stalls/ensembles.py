"""Ensemble forecasts on the globe as GRIB edition 2: a message for every time, variable and member.

Source: ENS-10: ten members, fields on a map; here those of its surface file, of 16 bits a value.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maelio.benchmarks.peers.fields import smooth
from maelio.benchmarks.peers.messages import encoded, keys_of

VARIABLES = {  # name in GRIB: mean, deviation, height above ground in m; SI
    "2t": (280.0, 15.0, 2),
    "10u": (0.0, 6.0, 10),
    "10v": (0.0, 6.0, 10),
}
NAMES = ("t2m", "u10", "v10")  # in CF


@dataclass(frozen=True, slots=True)
class Ensembles:
    """`files` of `steps` times of all variables and members, on a grid of (latitude, longitude)."""

    files: int
    steps: int
    members: int = 10
    latitudes: int = 181
    longitudes: int = 360

    @property
    def bytes(self) -> int:
        fields = self.files * self.steps * len(VARIABLES) * self.members
        return fields * self.latitudes * self.longitudes * 4

    def paths(self, folder: Path) -> list[Path]:
        return [folder / f"{number:03d}.grib2" for number in range(self.files)]

    def write(self, path: Path, number: int) -> None:
        random = np.random.default_rng(number)
        with open(path, "wb") as file:
            for step in range(number * self.steps, (number + 1) * self.steps):
                for name, (mean, deviation, height) in VARIABLES.items():
                    field = smooth(random, self.latitudes, self.longitudes)
                    for member in range(self.members):
                        keys = {
                            **keys_of(step, self.latitudes, self.longitudes),
                            "productDefinitionTemplateNumber": 1,
                            "numberOfForecastsInEnsemble": self.members,
                            "perturbationNumber": member,
                            "typeOfLevel": "heightAboveGround",
                            "level": height,
                            "shortName": name,
                            "packingType": "grid_simple",
                        }
                        values = mean + deviation * np.roll(field, member, axis=1)
                        file.write(encoded(keys, values.ravel()))

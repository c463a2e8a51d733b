"""What is known of a GRIB message: its names and units, where it belongs, and its grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.converters.grib_scan import Scan

Coordinate = tuple[tuple[str, ...], NDArray[Any], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Facts:
    """One field without its time. `name` is cfgrib's, or one made from numbers where eccodes knows none.

    `step_s` is the end of the step in seconds. `number`, `direction` and `frequency` are None where a field
    is not of an ensemble or a wave spectrum. `telling` may tell it from fields that agree in all else.
    """

    name: str
    parameter: tuple[object, ...]
    level_type: str
    level: float
    step_type: str
    step_s: int
    number: int | None
    direction: int | None
    frequency: int | None
    telling: Mapping[str, object] = field(compare=False)
    attributes: Mapping[str, Any] = field(compare=False)
    origin: Mapping[str, Any] = field(compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the values of a field lie. A coordinate is its dimensions, values and attributes."""

    type: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    scan: Scan
    coordinates: Mapping[str, Coordinate]
    attributes: Mapping[str, Any]

    def same(self, other: "Grid") -> bool:
        """The same points in the same order, though a flag of no weight may differ."""
        return (self.type, self.shape, self.scan) == (other.type, other.shape, other.scan) and (
            bool(self.coordinates)
            and self.coordinates.keys() == other.coordinates.keys()
            and all(
                np.array_equal(values, other.coordinates[name][1])
                for name, (_, values, _) in self.coordinates.items()
            )
        )

    def __str__(self) -> str:
        return f"{self.type} {' x '.join(map(str, self.shape))}"

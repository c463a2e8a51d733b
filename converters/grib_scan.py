"""The order in which a GRIB message holds the values of its grid."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scan:
    """The order of a grid's values, where it is not row after row, each in the same direction."""

    by_columns: bool = False
    alternating: bool = False


def in_rows(values: NDArray[Any], shape: tuple[int, ...], scan: Scan) -> NDArray[Any]:
    """Values in the order of the file as the array `shape`: rows from the first to the last one written."""
    field = values.reshape(shape[::-1] if scan.by_columns else shape)
    if scan.alternating:
        field = field.copy()
        field[1::2] = field[1::2, ::-1]
    return field.T if scan.by_columns else field

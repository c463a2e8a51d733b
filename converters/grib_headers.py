"""What eccodes says about a GRIB message: its names and units, where it belongs, and its grid."""

import logging
from collections.abc import Iterable
from math import prod
from typing import Any

import eccodes
import numpy as np
from numpy.typing import NDArray

from maelio.converters.grib_facts import Coordinate, Facts, Grid
from maelio.converters.grib_scan import Scan, in_rows
from maelio.errors import BadData

log = logging.getLogger(__name__)

_NAMES = ("paramId", "shortName", "name", "units", "cfName", "cfVarName")
_KINDS = ("dataType", "typeOfLevel", "stepType", "totalNumber", "NV", "uvRelativeToGrid")
_ORIGIN = ("edition", "centre", "centreDescription", "subCentre")
_NUMBERS = ("parameterCategory", "parameterNumber", "table2Version", "indicatorOfParameter")
_TELLING = (  # what may tell fields apart that all else has in common
    "bottomLevel",
    "startStep",
    "dataType",
    "percentileValue",
    "scaledValueOfLowerLimit",
    "scaledValueOfUpperLimit",
    "derivedForecast",
    "constituentType",
    "aerosolType",
    "scaledValueOfFirstWavelength",
    "scaledValueOfFirstSize",
    "typeOfGeneratingProcess",
    "generatingProcessIdentifier",
    "stream",
    "experimentVersionNumber",
    "centre",
    *_NUMBERS,
)
_UNKNOWN = ("unknown", "~", "")

_GRID = (
    "gridType",
    "numberOfPoints",
    "gridDefinitionDescription",
    *("Nx", "Ny", "N", "M", "K", "J"),
    *("iScansNegatively", "jScansPositively", "jPointsAreConsecutive", "alternativeRowScanning"),
    *("iDirectionIncrementInDegrees", "jDirectionIncrementInDegrees", "DxInMetres", "DyInMetres"),
    *("latitudeOfFirstGridPointInDegrees", "longitudeOfFirstGridPointInDegrees"),
    *("latitudeOfLastGridPointInDegrees", "longitudeOfLastGridPointInDegrees"),
    *("latitudeOfSouthernPoleInDegrees", "longitudeOfSouthernPoleInDegrees", "angleOfRotationInDegrees"),
    *("LaDInDegrees", "LoVInDegrees", "Latin1InDegrees", "Latin2InDegrees"),
)
_SEPARABLE = frozenset({"regular_ll", "regular_gg"})
_PLANE = frozenset({
    "rotated_ll", "rotated_gg", "lambert", "lambert_azimuthal_equal_area", "albers", "mercator",
    "polar_stereographic", "space_view",
})  # fmt: skip
_POINTS = frozenset({"reduced_gg", "reduced_ll", "healpix"})
# Of other grids the geography is left alone: for an unstructured one eccodes may look for a file on the network,
# and end the process where there is none.

_PLACES = {
    name: {"units": f"degrees_{side}", "standard_name": name, "long_name": name}
    for name, side in (("latitude", "north"), ("longitude", "east"))
}


def facts(handle: int) -> Facts:
    """Raises CodesInternalError: eccodes cannot tell the step."""
    try:
        eccodes.codes_set(handle, "stepUnits", "s")
        step, start = (int(eccodes.codes_get_double(handle, key)) for key in ("endStep", "startStep"))
    except eccodes.KeyValueNotFoundError:
        step = start = 0  # an observation, such as a satellite image
    found = _get(handle, (*_NAMES, *_KINDS, *_ORIGIN, *_TELLING))
    level = _get(handle, ("level",), float).get("level", 0.0)
    telling = {key: found[key] for key in _TELLING if key in found} | {"startStep": step - start}
    numbers = tuple(found.get(key) for key in _NUMBERS if key in found)
    short = str(found.get("shortName", "unknown"))
    names = [str(found.get("cfVarName", "")), short if short.isidentifier() else "unknown"]
    known = next((name for name in names if name not in _UNKNOWN), None)
    attributes = {
        "GRIB_" + key: found[key]
        for key in (*_NAMES, *_KINDS)
        if key in found and found[key] not in (*_UNKNOWN, None)
    }
    attributes["units"] = str(found.get("units", "unknown"))
    attributes["long_name"] = str(found.get("name", "unknown"))
    if found.get("cfName") not in (*_UNKNOWN, None):
        attributes["standard_name"] = str(found["cfName"])
    members = _get(handle, ("number", "directionNumber", "frequencyNumber"), int)
    return Facts(
        name=known or "_".join(map(str, ("parameter", *numbers))),
        parameter=(found.get("paramId"),) if known else (known, *numbers),
        level_type=str(found.get("typeOfLevel", "unknown")),
        level=level,
        step_type=str(found.get("stepType", "unknown")),
        step_s=step,
        number=members.get("number"),
        direction=members.get("directionNumber"),
        frequency=members.get("frequencyNumber"),
        telling=telling,
        attributes=attributes,
        origin={"GRIB_" + key: found[key] for key in _ORIGIN if key in found},
    )


def grid(handle: int) -> Grid:
    """The grid, with latitudes and longitudes where eccodes computes them without help from outside.

    Raises:
        CodesInternalError: it has no grid that eccodes knows.
        BadData: there are more or fewer values than points.
    """
    found = _get(handle, _GRID)
    kind = str(found.get("gridType", "unknown"))
    points = int(found.get("numberOfPoints", 0))
    attributes = {"GRIB_" + key: value for key, value in found.items() if value is not None}
    size = eccodes.codes_get_size(handle, "values")
    rows, columns = found.get("Ny"), found.get("Nx")
    if kind in _SEPARABLE | _PLANE and rows and columns:
        shape = (int(rows), int(columns))
        if prod(shape) != size:
            raise BadData(f"its grid {kind} has {rows} x {columns} points, its data {size} values")
        scan = Scan(bool(found.get("jPointsAreConsecutive")), bool(found.get("alternativeRowScanning")))
        dimensions, coordinates = _plane(handle, kind, shape, scan)
        return Grid(kind, dimensions, shape, scan, coordinates, attributes)
    if kind in _POINTS and points != size:
        raise BadData(f"its grid {kind} has {points} points, its data {size} values")
    places = (_places(handle) if kind in _POINTS else None) or {}
    for name, values in places.items():
        if len(values) != size:
            raise BadData(f"its grid {kind} has {len(values)} {name}s, its data {size} values")
    points_at: dict[str, Coordinate] = {
        name: (("values",), values, _PLACES[name]) for name, values in places.items()
    }
    return Grid(kind, ("values",), (size,), Scan(), points_at, attributes)


def _plane(
    handle: int, kind: str, shape: tuple[int, int], scan: Scan
) -> tuple[tuple[str, ...], dict[str, Coordinate]]:
    """Dimensions and coordinates of a grid of rows and columns."""
    if scan != Scan():  # eccodes gives places row after row only for grids that are scanned so
        handle = eccodes.codes_clone(handle)
    try:
        if scan != Scan():
            eccodes.codes_set(handle, "jPointsAreConsecutive", 0)
            eccodes.codes_set(handle, "alternativeRowScanning", 0)
        places = _places(handle)
    finally:
        if scan != Scan():
            eccodes.codes_release(handle)
    if places is None or any(len(values) != shape[0] * shape[1] for values in places.values()):
        return ("y", "x"), {}
    planes = {name: in_rows(values, shape, Scan()) for name, values in places.items()}
    parallels, meridians = planes["latitude"][:, 0], planes["longitude"][0]
    if (
        kind in _SEPARABLE
        and np.array_equal(planes["latitude"], np.broadcast_to(parallels[:, None], shape))
        and np.array_equal(planes["longitude"], np.broadcast_to(meridians, shape))
    ):
        lines = {"latitude": parallels, "longitude": meridians}
        return tuple(lines), {name: ((name,), values, _PLACES[name]) for name, values in lines.items()}
    return ("y", "x"), {name: (("y", "x"), values, _PLACES[name]) for name, values in planes.items()}


def _places(handle: int) -> dict[str, NDArray[np.float64]] | None:
    try:
        return {name: eccodes.codes_get_double_array(handle, name + "s") for name in _PLACES}
    except eccodes.CodesInternalError as error:
        log.warning("no latitudes and longitudes: %s", error)
        return None


def _get(handle: int, keys: Iterable[str], kind: type | None = None) -> dict[str, Any]:
    """Those of the `keys` that the message has."""
    found = {}
    for key in keys:
        try:
            found[key] = eccodes.codes_get(handle, key, kind)
        except eccodes.CodesInternalError:
            continue
    return found

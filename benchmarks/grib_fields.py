"""Is every field of a GRIB file in the dataset that was made of it? As eccodes' own reader and cfgrib read the file.

None of this knows how a conversion finds, names or decodes messages.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import cfgrib
import eccodes
import numpy as np
import xarray as xr
from numpy.typing import NDArray

_MISSING = -1e30
_GRID = ("latitude", "longitude", "y", "x", "values")
_KINDS = ("paramId", "typeOfLevel", "stepType")
_MOST_FOR_CFGRIB = 40  # variables; it takes minutes for more


def compare_with_eccodes(found: xr.Dataset, path: Path) -> tuple[int, int, list[str]]:
    """How many fields and values the file has, and what is not in `found`; or is there and not in the file."""
    wrong = []
    count = size = 0
    for keys, values in _fields(path):
        count, size = count + 1, size + values.size
        place = {
            "time": _reference_time(keys),
            "step": np.timedelta64(int(keys.get("endStep", 0)), "s"),
            "number": keys.get("number"),
            keys["typeOfLevel"]: keys.get("level", 0),
        }
        kind = {key: keys[key] for key in _KINDS if key in keys}
        parts = [_at(field, place) for field in _candidates(found, kind)]
        if not any(
            part is not None and np.array_equal(_as_written(part), values, equal_nan=True) for part in parts
        ):
            wrong.append(f"message {count} {keys}: no variable holds its values")
    held = sum(
        int(np.prod([field.sizes[name] for name in field.dims if name not in _GRID]))
        for field in found.data_vars.values()
    )
    if held != count:
        wrong.append(f"the file has {count} fields, the store {held}")
    return count, size, wrong


def compare_with_cfgrib(found: xr.Dataset, path: Path) -> tuple[int, list[str]]:
    """How many of cfgrib's variables were compared, and what differs.

    Those that it cannot open do not count, nor does a file where it leaves the values as they were scanned.
    """
    if len(found.data_vars) > _MOST_FOR_CFGRIB or any(map(_scanned_otherwise, found.data_vars.values())):
        return 0, []
    try:
        datasets = cfgrib.open_datasets(path, backend_kwargs={"indexpath": "", "errors": "ignore"})
    except Exception:  # noqa: BLE001  (cfgrib raises anything)
        return 0, []
    wrong = []
    count = 0
    for dataset in datasets:
        for name, wanted in dataset.data_vars.items():
            count += 1
            if not _holds(found, wanted):
                wrong.append(f"cfgrib's variable {name!r} {dict(wanted.sizes)} is in no variable")
    return count, wrong


def _holds(found: xr.Dataset, wanted: xr.DataArray) -> bool:
    header = [str(dim) for dim in wanted.dims if dim not in _GRID]
    kind = {key: wanted.attrs["GRIB_" + key] for key in _KINDS if "GRIB_" + key in wanted.attrs}
    scalars = {str(key): value.values for key, value in wanted.coords.items() if not value.dims}
    scalars.pop("valid_time", None)
    for field in _candidates(found, kind):
        part = _at(field, scalars)
        if part is None or {*part.dims} - {*_GRID} != {*header}:
            continue
        if any(not np.isin(wanted[dim].values, part[dim].values).all() for dim in header):
            continue
        part = part.sel({dim: wanted[dim].values for dim in header}).transpose(*header, ...)
        if np.array_equal(part.values.ravel(), wanted.values.ravel(), equal_nan=True):
            return _same_places(part, wanted)
    return False


def _same_places(part: xr.DataArray, wanted: xr.DataArray) -> bool:
    if part.attrs.get("GRIB_iScansNegatively"):  # of those cfgrib gives the longitudes the other way round
        return True
    return all(
        np.array_equal(part[side].values.ravel(), wanted[side].values.ravel())
        for side in ("latitude", "longitude")
        if side in wanted.coords and side in part.coords
    )


def _fields(path: Path) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Every field by eccodes' own reader, float64 rounded to float32; scanned as the file has it."""
    eccodes.codes_grib_multi_support_on()
    try:
        with open(path, "rb") as file:
            while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
                with suppress(eccodes.CodesInternalError):
                    eccodes.codes_set(handle, "stepUnits", "s")
                found: dict[str, Any] = {}
                for key in (*_KINDS, "dataDate", "dataTime", "number"):
                    with suppress(eccodes.CodesInternalError):
                        found[key] = eccodes.codes_get(handle, key)
                found.setdefault("typeOfLevel", "unknown")
                for key in ("level", "endStep"):
                    with suppress(eccodes.CodesInternalError):
                        found[key] = eccodes.codes_get(handle, key, float)
                eccodes.codes_set(handle, "missingValue", _MISSING)
                values = eccodes.codes_get_double_array(handle, "values")
                eccodes.codes_release(handle)
                with np.errstate(over="ignore"):
                    yield found, np.where(values == _MISSING, np.nan, values).astype(np.float32)
    finally:
        eccodes.codes_grib_multi_support_off()


def _reference_time(keys: Mapping[str, Any]) -> np.datetime64:
    date = f"{keys['dataDate']:08d}"
    hour, minute = divmod(keys["dataTime"], 100)
    return np.datetime64(f"{date[:4]}-{date[4:6]}-{date[6:]}T{hour:02d}:{minute:02d}")


def _candidates(found: xr.Dataset, wanted: Mapping[str, Any]) -> list[xr.DataArray]:
    """The variables that a field may be of."""
    return [
        _plain(field)
        for field in found.data_vars.values()
        if all(field.attrs.get(f"GRIB_{key}", value) == value for key, value in wanted.items())
    ]


def _plain(field: xr.DataArray) -> xr.DataArray:
    """With its own coordinates alone, under the names they have without a number behind."""
    own = {*str(field.encoding.get("coordinates", "")).split(), *field.dims}
    field = field.drop_vars({*field.coords} - own)
    names = {name: re.sub(r"_\d+$", "", str(name)) for name in [*field.coords, *field.dims]}
    return field.rename({name: new for name, new in names.items() if name != new})


def _at(field: xr.DataArray, place: Mapping[str, Any]) -> xr.DataArray | None:
    """The part of a variable that lies at a place; None where it has none there."""
    for name, value in place.items():
        if name not in field.coords:
            continue
        same = np.flatnonzero(np.atleast_1d(field[name].values) == value)
        if not len(same):
            return None
        if name in field.dims:
            field = field.isel({name: int(same[0])})
    return field


def _scanned_otherwise(field: xr.DataArray) -> bool:
    return bool(
        field.attrs.get("GRIB_alternativeRowScanning") or field.attrs.get("GRIB_jPointsAreConsecutive")
    )


def _as_written(field: xr.DataArray) -> NDArray[np.float32]:
    """One field in the order of its message."""
    values: NDArray[np.float32] = field.values.squeeze()
    if values.ndim == 2 and field.attrs.get("GRIB_jPointsAreConsecutive"):
        values = values.T
    if values.ndim == 2 and field.attrs.get("GRIB_alternativeRowScanning"):
        values = values.copy()
        values[1::2] = values[1::2, ::-1]
    return values.ravel()

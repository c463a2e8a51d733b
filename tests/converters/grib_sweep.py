"""Convert real GRIB files one after the other and compare every field; a process of its own, for what may crash it.

Each line of its output is one file: what became of it, as JSON. It is run as
`python -m tests.converters.grib_sweep FOLDER FILE...`.
"""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import eccodes
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import MaelioError

MISSING = -1e30
MIRRORED = (
    "ineg_jneg.grib2",
)  # of rows written from east to west cfgrib gives the longitudes the other way round
LONG = ("fh.0012_tl.press_gr.awp211.grb2", "eta.grb")  # cfgrib takes 20 s for each
# In these two cfgrib leaves the values as they are written, beside coordinates in rows.
ALTERNATING = ("ds.waveh.5.grib",)
BY_COLUMNS = ("scanning_mode_with_bitmap.grib2",)
GRID = ("latitude", "longitude", "y", "x", "values")


def fields(path: Path) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Every field by eccodes' own reader, float64 rounded to float32; scanned as the file has it."""
    eccodes.codes_grib_multi_support_on()
    try:
        with open(path, "rb") as file:
            while (handle := eccodes.codes_grib_new_from_file(file)) is not None:
                with suppress(eccodes.CodesInternalError):
                    eccodes.codes_set(handle, "stepUnits", "s")
                found: dict[str, Any] = {}
                for key in ("paramId", "typeOfLevel", "stepType", "dataDate", "dataTime", "number"):
                    with suppress(eccodes.CodesInternalError):
                        found[key] = eccodes.codes_get(handle, key)
                found.setdefault("typeOfLevel", "unknown")
                for key in ("level", "endStep"):
                    with suppress(eccodes.CodesInternalError):
                        found[key] = eccodes.codes_get(handle, key, float)
                eccodes.codes_set(handle, "missingValue", MISSING)
                values = eccodes.codes_get_double_array(handle, "values")
                eccodes.codes_release(handle)
                yield found, np.where(values == MISSING, np.nan, values).astype(np.float32)
    finally:
        eccodes.codes_grib_multi_support_off()


def plain(field: xr.DataArray) -> xr.DataArray:
    """With its own coordinates alone, under the names they have without a number behind."""
    own = {*str(field.encoding.get("coordinates", "")).split(), *field.dims}
    field = field.drop_vars({*field.coords} - own)
    names = {name: re.sub(r"_\d+$", "", str(name)) for name in [*field.coords, *field.dims]}
    return field.rename({name: new for name, new in names.items() if name != new})


def candidates(found: xr.Dataset, wanted: dict[str, Any]) -> list[xr.DataArray]:
    """The variables that a field may be of."""
    return [
        plain(field)
        for field in found.data_vars.values()
        if all(field.attrs.get(f"GRIB_{key}", value) == value for key, value in wanted.items())
    ]


def at(field: xr.DataArray, place: dict[str, Any]) -> xr.DataArray | None:
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


def as_written(field: xr.DataArray, path: Path) -> NDArray[np.float32]:
    """One field in the order of its message."""
    values: NDArray[np.float32] = field.values.squeeze()
    if path.name in ALTERNATING:
        values = values.copy()
        values[1::2] = values[1::2, ::-1]
    return (values.T if path.name in BY_COLUMNS else values).ravel()


def compare_with_eccodes(found: xr.Dataset, path: Path) -> int:
    """How many fields are equal; raises at one that is not."""
    count = 0
    for keys, values in fields(path):
        count += 1
        date = f"{keys['dataDate']:08d}"
        hour, minute = divmod(keys["dataTime"], 100)
        time = np.datetime64(f"{date[:4]}-{date[4:6]}-{date[6:]}T{hour:02d}:{minute:02d}")
        place = {
            "time": time,
            "step": np.timedelta64(int(keys.get("endStep", 0)), "s"),
            "number": keys.get("number"),
            keys["typeOfLevel"]: keys.get("level", 0),
        }
        wanted: dict[str, Any] = {
            key: keys[key] for key in ("paramId", "typeOfLevel", "stepType") if key in keys
        }
        parts = [at(field, place) for field in candidates(found, wanted)]
        if not any(
            part is not None and np.array_equal(as_written(part, path), values, equal_nan=True)
            for part in parts
        ):
            raise AssertionError(f"{path}: message {count} {keys}: no variable holds its values")
    held = sum(
        int(np.prod([field.sizes[name] for name in field.dims if name not in GRID]))
        for field in found.data_vars.values()
    )
    assert held == count, f"{path}: {count} fields, the store has {held}"
    return count


def compare_with_cfgrib(found: xr.Dataset, path: Path) -> int:
    """How many of cfgrib's variables are equal; those it cannot open do not count."""
    import cfgrib

    count = 0
    if path.name in BY_COLUMNS + ALTERNATING + LONG:
        return 0
    try:
        datasets = cfgrib.open_datasets(path, backend_kwargs={"indexpath": "", "errors": "ignore"})
    except Exception:  # noqa: BLE001  (cfgrib raises anything)
        return 0
    for dataset in datasets:
        for name, wanted in dataset.data_vars.items():
            header = [str(dim) for dim in wanted.dims if dim not in GRID]
            known = ("paramId", "typeOfLevel", "stepType")
            keys = {key: wanted.attrs["GRIB_" + key] for key in known if "GRIB_" + key in wanted.attrs}
            scalars = {str(key): value.values for key, value in wanted.coords.items() if not value.dims}
            scalars.pop("valid_time", None)
            equal = False
            for field in candidates(found, keys):
                part = at(field, scalars)
                if part is None or {*part.dims} - {*GRID} != {*header}:
                    continue
                if any(not np.isin(wanted[dim].values, part[dim].values).all() for dim in header):
                    continue
                part = part.sel({dim: wanted[dim].values for dim in header}).transpose(*header, ...)
                equal |= np.array_equal(part.values.ravel(), wanted.values.ravel(), equal_nan=True)
                if path.name in MIRRORED:
                    continue
                for side in ("latitude", "longitude"):
                    if side in wanted.coords and side in part.coords:
                        np.testing.assert_array_equal(part[side].values.ravel(), wanted[side].values.ravel())
            assert equal, f"{path}: cfgrib's variable {name!r} {wanted.sizes} is in no variable"
            count += 1
    return count


def main(folder: Path, *paths: Path) -> None:
    warnings.simplefilter("ignore")
    for number, path in enumerate(paths):
        line: dict[str, Any] = {"path": str(path)}
        print(json.dumps({**line, "starts": True}), flush=True)  # noqa: T201
        try:
            store = convert([path], folder / f"{number}.zarr", Options(on={"gap": "allow"}))
        except MaelioError as error:
            line |= {"refused": str(error)}
        else:
            with xr.open_dataset(store.path, engine="maelio") as found:
                found.load()
            line |= {"fields": compare_with_eccodes(found, path), "cfgrib": compare_with_cfgrib(found, path)}
        print(json.dumps(line), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

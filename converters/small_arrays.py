"""Small arrays of numbers or text as files of Zarr v3, as xarray and zarr-python write them, but without loading those.

zarr-python takes a sixth of a second to load, xarray's writer a tenth: as much as 50 MB take to convert. What is
not small or not plain is theirs: see `publish.encode`.

Source: Zarr v3 core; codecs `zstd` and `vlen-utf8` of zarr-extensions; xarray 2025, `FillValueCoder`.
"""

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numcodecs import VLenUTF8, zstd
from numpy.typing import NDArray
from pydantic import JsonValue

_SMALL = 2**16  # bytes: of more, zarr-python may make several chunks
_NUMBERS = frozenset(f"{kind}{8 * size}" for kind in ("int", "uint") for size in (1, 2, 4, 8)) | {
    "float32",
    "float64",
}
_ZSTD: JsonValue = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}


def plain_files(name: str, variable: xr.Variable) -> dict[str, bytes] | None:
    """The files of one variable, by key below the root. None: it is not small, or not plain."""
    if variable.encoding or variable.dtype.metadata or not isinstance(variable.data, np.ndarray):
        return None
    attributes = _attributes(variable.attrs, variable.dtype)
    if attributes is None or variable.nbytes > _SMALL:
        return None
    values: NDArray[Any] = variable.data
    fill: JsonValue
    first: JsonValue
    if variable.dtype.kind == "O":
        if not all(isinstance(value, str) for value in values.flat):
            return None
        data_type, fill, first = "string", "", {"name": "vlen-utf8", "configuration": {}}
        empty, raw = not any(values.flat), VLenUTF8().encode(values)
    elif variable.dtype.name in _NUMBERS:
        little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
        floats = values.dtype.kind == "f"
        data_type, fill = values.dtype.name, "NaN" if floats else 0
        order: JsonValue = {"endian": "little"}
        first = {"name": "bytes", **({"configuration": order} if values.dtype.itemsize > 1 else {})}
        empty, raw = bool(np.isnan(values).all() if floats else (values == 0).all()), little.tobytes()
    else:
        return None
    metadata: dict[str, JsonValue] = {
        "shape": [*values.shape],
        "data_type": data_type,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [max(size, 1) for size in values.shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [first, _ZSTD],
        "attributes": attributes,
        **({"dimension_names": [*map(str, variable.dims)]} if variable.dims else {}),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    files = {f"{name}/zarr.json": json.dumps(metadata, indent=2).encode()}
    if not empty:  # readers take what is not there as the fill value
        files["/".join([name, "c", *("0" for _ in values.shape)])] = bytes(zstd.compress(raw, 0))
    return files


def _attributes(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> dict[str, JsonValue] | None:
    """As JSON, with the fill value that xarray gives to floats that have none. None: some are not plain."""
    found = {
        key: value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        for key, value in attributes.items()
    }
    fill = found.pop("_FillValue", np.nan if dtype.kind == "f" else None)
    if not all(map(_is_plain, found.values())):
        return None
    if fill is None:
        return found
    if dtype.kind == "f" and isinstance(fill, float):
        return {**found, "_FillValue": base64.standard_b64encode(struct.pack("<d", fill)).decode()}
    if dtype.kind in "iu" and isinstance(fill, int):
        return {**found, "_FillValue": fill}
    return None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, str | int) or (isinstance(value, float) and bool(np.isfinite(value)))

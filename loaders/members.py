"""What a member of a WebDataset's tar file holds, by its extension: arrays and numbers.

    .npy                          an array
    .npz                          arrays by name
    .cls .cls2 .count .id ...     an integer as text: int64
    .json .jsn                    a number, or an object, of which numbers are taken: float64

Source: webdataset 1.0, `autodecode`.
"""

import io
import json
import zipfile
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic
from numpy.typing import NDArray

Array = NDArray[Any]

_INTEGERS = ("cls", "cls2", "count", "id", "index", "inx")


def arrays_of(extension: str, content: memoryview) -> dict[str, Array]:
    """By name; a single one has the name "", and looks into `content`. The last part of `x.npy` counts.

    Raises ValueError: it holds nothing that is, or becomes, a tensor.
    """
    match extension.rpartition(".")[2]:
        case "npy":
            found = {"": _npy(content)}
        case "npz":
            found = dict(_loaded(content))
        case kind if kind in _INTEGERS:
            found = {"": np.array(int(bytes(content)), np.int64)}
        case "json" | "jsn":
            found = _numbers(json.loads(bytes(content)))
        case _:
            raise ValueError("wanted npy, npz, json, cls, count, id or index")
    taken = {name: values for name, values in found.items() if _is_tensor(values)}
    if not taken:
        raise ValueError("holds no numbers")
    return taken


def _npy(content: memoryview) -> Any:
    """Values where they lie. Source: `numpy.lib.format`, versions 1.0 and 2.0; later ones hold no plain numbers."""
    if len(content) < 12 or bytes(content[:6]) != b"\x93NUMPY" or content[6] not in (1, 2):
        return _loaded(content)
    begin = 10 if content[6] == 1 else 12
    begin += int.from_bytes(content[8:begin], "little")
    shape, fortran, dtype = _header(bytes(content[:begin]))
    if dtype.hasobject:
        raise ValueError("holds objects, no numbers")
    return np.frombuffer(content, dtype, prod(shape), begin).reshape(shape, order="F" if fortran else "C")


@lru_cache
def _header(start: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file = io.BytesIO(start)
    read = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}[read_magic(file)]
    return read(file)


def _loaded(content: memoryview) -> Any:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"is damaged: {error}") from error


def _numbers(held: Any) -> dict[str, Array]:
    items = held if isinstance(held, dict) else {"": held}
    return {
        name: np.array(value, np.float64)
        for name, value in items.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _is_tensor(values: Any) -> bool:
    if not isinstance(values, np.ndarray):
        return False
    try:
        torch.from_numpy(np.empty(0, values.dtype.newbyteorder("=")))
    except TypeError:
        return False
    return values.dtype.kind != "c" and values.size > 0

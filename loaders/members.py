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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]

_INTEGERS = ("cls", "cls2", "count", "id", "index", "inx")


def arrays_of(extension: str, content: bytes) -> dict[str, Array]:
    """By name; a single one has the name "". The last part of `x.npy` counts.

    Raises ValueError: it holds nothing that is, or becomes, a tensor.
    """
    match extension.rpartition(".")[2]:
        case "npy":
            found = {"": _loaded(content)}
        case "npz":
            found = dict(_loaded(content))
        case kind if kind in _INTEGERS:
            found = {"": np.array(int(content), np.int64)}
        case "json" | "jsn":
            found = _numbers(json.loads(content))
        case _:
            raise ValueError("wanted npy, npz, json, cls, count, id or index")
    taken = {name: values for name, values in found.items() if _is_tensor(values)}
    if not taken:
        raise ValueError("holds no numbers")
    return taken


def _loaded(content: bytes) -> Any:
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

"""Attributes as JSON: `natural` for every reader, `typed` so that `restore` gives back the very dtype."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import JsonValue


def natural(attributes: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Plain JSON. Numbers that JSON does not know become text: "nan", "inf"."""
    return {name: _plain(value) for name, value in attributes.items()}


def typed(attributes: Mapping[str, Any]) -> dict[str, JsonValue]:
    """As `natural`, but NumPy numbers stand beside the name of their dtype."""
    return {name: _typed(value) for name, value in attributes.items()}


def restore(attributes: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Undo `typed`."""
    return {name: _restored(value) for name, value in attributes.items()}


def _plain(value: Any) -> JsonValue:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    plain: JsonValue = value
    return plain


def _typed(value: Any) -> JsonValue:
    if isinstance(value, float) and not np.isfinite(value):
        value = np.float64(value)
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiub":
        return {"dtype": value.dtype.name, "value": _plain(value)}
    return _plain(value)


def _restored(value: JsonValue) -> Any:
    if isinstance(value, dict) and value.keys() == {"dtype", "value"}:
        return np.array(value["value"], dtype=str(value["dtype"]))[()]
    return value

"""Small arrays are written as xarray and zarr-python write them."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr.storage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from maelio.converters.publish import encode
from maelio.converters.small_arrays import plain_files
from maelio.converters.source import plain_variable

numbers = st.sampled_from(
    ["f4", "f8", ">f4", ">f8", "i1", "i2", "i4", "i8", ">i4", "u1", "u2", "u4", "u8"]
).flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
texts = arrays(object, array_shapes(max_dims=2, max_side=3), elements=st.text(max_size=3))
attributes = st.dictionaries(
    st.sampled_from(["units", "calendar", "bounds", "valid_min", "flags"]),
    st.text(max_size=5)
    | st.integers(-9, 9)
    | st.floats(-9, 9).map(np.float32)
    | st.just(np.arange(3, dtype="i1")),
)


def by_xarray(variable: xr.Variable) -> dict[str, bytes]:
    """Its files, by key; nothing of maelio."""
    memory: dict[str, Any] = {}
    xr.Dataset(coords=xr.Coordinates({"v": variable}, indexes={})).to_zarr(
        zarr.storage.MemoryStore(memory), zarr_format=3, consolidated=False
    )
    return {key: value.to_bytes() for key, value in memory.items() if "/" in key}


def parsed(files: Mapping[str, bytes]) -> dict[str, object]:
    return {key: json.loads(content) if key.endswith(".json") else content for key, content in files.items()}


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@settings(deadline=None)  # the first example loads libraries
@given(values=numbers | texts, attributes=attributes, fill=st.booleans())
def test_the_files_are_those_of_xarray(
    values: NDArray[Any], attributes: dict[str, Any], *, fill: bool
) -> None:
    """Byte for byte, and the metadata as JSON."""
    if fill and values.dtype.kind in "fiu":
        attributes = {**attributes, "_FillValue": np.ones(1, values.dtype.newbyteorder("="))[0]}
    variable = plain_variable(("a", "b", "c")[: values.ndim], values, attributes)
    found = plain_files("v", variable)
    assert found is not None
    assert parsed(found) == parsed(by_xarray(variable))


@pytest.mark.parametrize(
    ("values", "attributes"),
    [
        (np.zeros(9000), {}),
        (np.array([b"a"], "S1"), {}),
        (np.array([True]), {}),
        (np.array(["a", None], object), {}),
        (np.zeros(1), {"valid_max": np.float64("nan")}),
        (np.zeros(1, "m8[s]"), {}),
    ],
    ids=["not small", "bytes", "bool", "no text", "NaN in an attribute", "time"],
)
def test_others_are_left_to_xarray(values: NDArray[Any], attributes: dict[str, Any]) -> None:
    """What is not small or not plain."""
    assert plain_files("v", plain_variable(("x",), values, attributes)) is None


def test_both_stand_together_in_order() -> None:
    """One is written here and one by xarray, and keys are sorted."""
    files = encode({"b": plain_variable(("x",), np.ones(2)), "a": plain_variable(("y",), np.ones(9000))})
    assert list(files) == ["a/c/0", "a/zarr.json", "b/c/0", "b/zarr.json"]

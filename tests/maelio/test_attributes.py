"""Attributes pass through JSON without losing their dtype."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, scalar_dtypes

from maelio.attributes import natural, restore, typed

numbers = scalar_dtypes().filter(
    lambda dtype: dtype.kind in "fiub" and dtype.itemsize <= 8 and dtype.isnative
)
values = (
    st.text()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.lists(st.text(), max_size=3)
    | numbers.flatmap(lambda dtype: arrays(dtype, st.integers(1, 3)))
    | numbers.flatmap(lambda dtype: arrays(dtype, ()).map(lambda array: array[()]))
)


@given(attributes=st.dictionaries(st.text(), values))
def test_restored_attributes_are_the_very_same(attributes: dict[str, object]) -> None:
    """Value and dtype, NaN and infinity included, through strict JSON."""
    found = restore(json.loads(json.dumps(typed(attributes), allow_nan=False)))
    assert found.keys() == attributes.keys()
    for name, value in attributes.items():
        np.testing.assert_array_equal(found[name], value)
        assert np.asarray(found[name]).dtype == np.asarray(value).dtype


@pytest.mark.parametrize(
    ("value", "shown"),
    [(np.float32(0.5), 0.5), (np.array([1, 2], "i2"), [1, 2]), (np.nan, "nan"), (b"K", "K"), ("K", "K")],
)
def test_other_readers_see_plain_json(value: object, shown: object) -> None:
    """No reader of plain Zarr meets our way of keeping dtypes."""
    assert natural({"a": value}) == {"a": shown}

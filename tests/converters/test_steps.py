"""A chain gives what its steps give one after the other, and holds no more than it says."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maelio.converters.rounding import round_within
from maelio.converters.source import Variable, decode
from maelio.converters.steps import chain
from maelio.converters.storage import Slow
from tests.converters.memory import traced_peak

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("f4", {}),
    "wide": ("f8", {}),
    "fills": ("f4", {"_FillValue": np.float32(-999)}),
    "wide fills": ("f8", {"_FillValue": -999.0, "missing_value": -999.0}),
    "packed": ("i2", {"scale_factor": np.float32(0.5), "_FillValue": np.int16(3)}),
    "packed wide": ("i4", {"scale_factor": 0.01, "add_offset": 250.0}),
}


def variable(kind: str, shape: tuple[int, ...]) -> tuple[Variable, NDArray[Any]]:
    """A variable (latitude, time, longitude), and values as its file would have them."""
    stored, attributes = KINDS[kind]
    raw = np.random.default_rng(0).integers(-5, 5, shape).astype(stored)
    if stored[0] == "f":
        raw.ravel()[::7] = -999
    decoded = decode("t", xr.Variable(("latitude", "time", "longitude"), raw, attributes)).dtype
    names = ("latitude", "time", "longitude")
    return Variable("t", names, shape, attributes, raw.dtype, decoded, Slow("")), raw


kinds = st.sampled_from(sorted(KINDS))
bounds = st.none() | st.floats(0.1, 10)


@settings(deadline=None)  # the first decoding takes half a second
@given(kind=kinds, bound=bounds, narrow=st.booleans(), sides=st.tuples(*[st.integers(1, 5)] * 3))
def test_a_chain_decodes_as_xarray_does_then_rounds_or_casts(
    kind: str, bound: float | None, narrow: bool, sides: tuple[int, ...]
) -> None:
    """In a block whose other variables stay what they are."""
    held, raw = variable(kind, sides)
    dtype = np.dtype("f4") if narrow else held.decoded
    rows, samples, columns = sides
    block = np.zeros((samples, 3, rows, columns), dtype)
    made = chain(held, dtype, [bound])
    made.run(lambda field: np.copyto(field, raw), raw.shape, [np.moveaxis(block[:, 1], 0, 1)])
    wanted = np.moveaxis(decode("t", xr.Variable(held.dimensions, raw, held.attributes)).values, 1, 0)
    if bound is not None:
        rounded = np.empty(wanted.shape, dtype)
        round_within(wanted, bound, rounded)
        wanted = rounded
    np.testing.assert_array_equal(block[:, 1], wanted.astype(dtype))
    assert not block[:, ::2].any()


@pytest.mark.parametrize("bound", [None, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_a_chain_holds_no_more_than_it_says(kind: str, bound: float | None) -> None:
    """A step that forgets its memory would break the limit of a conversion."""
    held, raw = variable(kind, (64, 8, 512))
    made = chain(held, np.dtype("f4"), [bound])
    out = np.empty((8, 64, 512), "f4")
    peak = traced_peak(
        lambda: made.run(lambda field: np.copyto(field, raw), raw.shape, [np.moveaxis(out, 0, 1)])
    )
    assert peak <= made.scratch(raw.size) + 2**14


@pytest.mark.parametrize(("kind", "dtype"), [("plain", "f4"), ("wide", "f8"), ("wide", "f4")])
def test_plain_floats_are_read_into_the_block(kind: str, dtype: str) -> None:
    """No step, no other array: what is read is what stays."""
    held, raw = variable(kind, (4, 3, 5))
    made = chain(held, np.dtype(dtype), [None])
    out = np.empty((3, 4, 5), dtype)
    given = []

    def read(field: NDArray[Any]) -> None:
        given.append(field)
        np.copyto(field, raw)

    made.run(read, raw.shape, [np.moveaxis(out, 0, 1)])
    assert np.shares_memory(given[0], out)
    assert (made.steps, made.scratch(raw.size)) == ((), 0)

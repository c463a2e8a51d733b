"""Plain values are taken out of messages bit for bit as eccodes does; what is not plain is left to it."""

import eccodes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from maelio.converters.grib_packing import packing, plain, unpack
from tests.converters.grib_files import message
from tests.converters.test_decoder import NOISE, PACKINGS, encoded

PLAIN = ("grid_simple", "grid_ieee")
BEHIND = bytes(4096)


@pytest.mark.parametrize(("edition", "kind", "words"), PACKINGS)
def test_only_plain_values_are_decoded_in_this_process(edition: int, kind: str, words: str) -> None:
    """Those that stand side by side: whatever they are, they are numbers."""
    whole = encoded(edition, kind)
    assert packing(whole) == words
    assert (plain(whole, NOISE.size) is not None) == (kind in PLAIN)
    assert plain(whole, NOISE.size + 1) is None


@given(
    bits=st.integers(1, 32),
    values=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40),
    start=st.integers(0, 9),
)
def test_integers_of_any_width_are_taken_apart(bits: int, values: list[int], start: int) -> None:
    """Most significant bits first, without a gap, from any byte on."""
    wanted = [value % 2**bits for value in values]
    text = "".join(f"{value:0{bits}b}" for value in wanted)
    size = -(-len(text) // 8)
    packed = int(text.ljust(size * 8, "0"), 2).to_bytes(size, "big")
    assert unpack(bytes(start) + packed + BEHIND, start, bits, len(wanted)).tolist() == wanted


fields = arrays(
    np.float64,
    st.integers(1, 50),
    elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan")),
    fill=st.just(280.0),
)


@given(edition=st.sampled_from([1, 2]), bits=st.integers(0, 32), decimal=st.integers(-3, 7), field=fields)
def test_plain_values_are_those_of_eccodes(
    edition: int, bits: int, decimal: int, field: NDArray[np.float64]
) -> None:
    """Bit for bit, whatever the width, the scales and the missing values; constant fields among them."""
    try:
        whole = message(
            field, edition=edition, Ni=field.size, Nj=1, bitsPerValue=bits, decimalScaleFactor=decimal
        )
    except eccodes.CodesInternalError:
        return  # eccodes does not pack it
    found = plain(whole + BEHIND, field.size)
    if found is None:
        return  # eccodes wrote fewer bits than it told
    np.testing.assert_array_equal(found.values(whole + BEHIND), by_eccodes(whole), strict=True)


@pytest.mark.parametrize("precision", [1, 2])
def test_floats_are_those_of_eccodes(precision: int) -> None:
    """Of four and of eight bytes, with missing values."""
    field = np.where(NOISE > 300, np.nan, NOISE)
    whole = message(field, packingType="grid_ieee", precision=precision)
    found = plain(whole + BEHIND, field.size)
    assert found is not None
    np.testing.assert_array_equal(found.values(whole + BEHIND), by_eccodes(whole), strict=True)


def by_eccodes(whole: bytes) -> NDArray[np.float64]:
    handle = eccodes.codes_new_from_message(whole)
    try:
        eccodes.codes_set(handle, "missingValue", np.nan)
        values: NDArray[np.float64] = eccodes.codes_get_double_array(handle, "values")
        return values
    finally:
        eccodes.codes_release(handle)


@pytest.mark.parametrize("edition", [1, 2])
def test_plain_values_with_a_bitmap_are_as_many_as_its_ones(edition: int) -> None:
    """A bit more or less, and eccodes would look for a value that is not there."""
    values = NOISE.copy()
    values[[3, 11, 12]] = np.nan
    whole = message(values, edition=edition, bitsPerValue=16)
    assert plain(whole, values.size) is not None
    for bit in (3, 4):
        damaged = bytearray(whole)
        ones = np.packbits(~np.isnan(values)).tobytes()
        damaged[damaged.index(ones)] ^= 0x80 >> bit
        assert (plain(bytes(damaged), values.size) is not None) == (
            edition == 1 and bit == 4
        )  # one less is only left over

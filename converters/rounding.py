"""Keep fewer bits of a float field, never farther from a value than a bound in the variable's unit.

Half of the step must not exceed the bound, and a step that is a power of two leaves zeros at the end of the
mantissa, which is what makes fields compress. Rounding to multiples of it, ties to even, is rounding each
mantissa to as many bits as its exponent needs: numcodecs' BitRound with the bits chosen value by value.

    bound 0.3 K   step 0.5 K   281.37 K -> 281.5 K, 14 of 23 bits;   2.37 K -> 2.5 K, 2 bits;   0.2 K -> 0

Source: Zender (2016), "Bit Grooming", doi:10.5194/gmd-9-3199-2016; Kouznetsov (2021), doi:10.5194/gmd-14-377-2021.
"""

from collections.abc import Iterator
from math import frexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.errors import BadData

Floats = NDArray[np.floating[Any]]

_SLAB_VALUES = 2**16  # of one pass: with its two scratch arrays inside a core's cache
SCRATCH_BYTES = 8 * _SLAB_VALUES * 8  # the most that rounding needs besides the field


def round_within(field: Floats, bound: float, out: Floats) -> None:
    """Fill `out`, which may be `field` itself or of a narrower dtype, with rounded values of `field`.

    Shape of both: any, but the same; any strides. NaN and infinite values stay as they are.
    Every value is compared with what it became before it is written.

    Raises BadData: a value does not fit `out` within the bound.
    """
    size = min(_SLAB_VALUES, field.size)
    rounded, error = np.empty((2, size), field.dtype)
    exponent = step_exponent(bound, field.dtype)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        for values, target in _slabs(field, out):
            kept, apart = rounded[: values.size], error[: values.size]
            kept, apart = kept.reshape(values.shape), apart.reshape(values.shape)
            if not _fast(values, exponent, kept, apart, bound, target):
                _carefully(values, exponent, bound, target)


def step_exponent(bound: float, dtype: np.dtype[Any]) -> int:
    """`e` of the largest step 2**e whose half is within `bound`, at most what `dtype` can divide by."""
    return min(frexp(bound)[1], np.finfo(dtype).maxexp - 2)


def _fast(
    values: Floats, exponent: int, rounded: Floats, error: Floats, bound: float, target: Floats
) -> bool:
    """False where a value would overflow on the way, or ends too far off; `target` is then as it was."""
    if abs(exponent) > np.finfo(values.dtype).maxexp - 2:
        return False
    step = values.dtype.type(2.0) ** exponent
    np.multiply(values, 1 / step, out=rounded)
    np.rint(rounded, out=rounded)
    np.multiply(rounded, step, out=rounded)
    narrow = rounded if target.dtype == values.dtype else rounded.astype(target.dtype)
    np.subtract(values, narrow, out=error)
    np.abs(error, out=error)
    if float(np.fmax.reduce(error, axis=None)) > bound:  # NaN alone: NaN stayed NaN, infinite stayed infinite
        return False
    target[...] = narrow
    return True


def _carefully(values: Floats, exponent: int, bound: float, target: Floats) -> None:
    """The same without overflow: only values with bits below the step change, scaled by their exponent."""
    rounded = values.copy()
    with_bits = np.abs(values) < np.ldexp(values.dtype.type(1), exponent + np.finfo(values.dtype).nmant + 1)
    rounded[with_bits] = np.ldexp(np.rint(np.ldexp(values[with_bits], -exponent)), exponent)
    np.copyto(rounded, values, where=~np.isfinite(rounded))
    narrow = rounded.astype(target.dtype)
    same = (narrow == values) | np.isnan(values)
    apart = np.abs(values - narrow)
    far = ~(same | (apart <= bound))
    if far.any():
        raise BadData(
            f"{values[far][0]} becomes {narrow[far][0]} in {target.dtype}, wanted at most {bound:g} away"
        )
    target[...] = narrow


def _slabs(field: Floats, out: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Parts of both that are small enough for the cache: some rows, or parts of one."""
    width = field[:1].size
    if not width:
        return
    if width > _SLAB_VALUES:
        for row, into in zip(field, out, strict=True):
            yield from _slabs(row, into)
        return
    rows = max(1, _SLAB_VALUES // width)
    for first in range(0, len(field), rows):
        yield np.ascontiguousarray(field[first : first + rows]), out[first : first + rows]

"""exp, log and cos by +, -, *, / alone: NumPy's own differ in the last bit from one kind of processor to the next.

Stand-ins have the same bytes everywhere, so that a checksum names them.
Error: a few units in the last place of float64; cos and sin of x: at most 1e-15 (1 + |x|).
Source: range reduction and Taylor series, as in J.-M. Muller, Elementary Functions, 3rd ed., chapters 3 and 11.
"""

from math import factorial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_TURN = 6.283185307179586


def exp(x: Floats) -> Floats:
    powers = np.rint(x * _LOG2_E)
    rest = (x - powers * _LN2_HIGH) - powers * _LN2_LOW
    series = np.full_like(rest, 1 / factorial(13))
    for order in range(12, -1, -1):
        series = series * rest + 1 / factorial(order)
    return np.ldexp(series, np.clip(powers, -2000, 2000).astype(np.int32))


def log(x: Floats) -> Floats:
    """Of numbers above 0."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < 0.7071067811865476
    mantissa = np.where(low, 2 * mantissa, mantissa)
    exponent = exponent - low
    ratio = (mantissa - 1) / (mantissa + 1)
    square = ratio * ratio
    series = np.full_like(ratio, 1 / 21)
    for odd in range(19, 0, -2):
        series = series * square + 1 / odd
    found: Floats = exponent * _LN2_LOW + (2 * ratio * series + exponent * _LN2_HIGH)
    return found


def cos(x: Floats) -> Floats:
    half = (x - _TURN * np.rint(x / _TURN)) / 2
    square = half * half
    series = np.full_like(half, 1 / factorial(24))
    for order in range(22, -1, -2):
        series = (-1) ** (order // 2) / factorial(order) + series * square
    return 2 * series * series - 1


def sin(x: Floats) -> Floats:
    return cos(x - _TURN / 4)


def power(x: Floats, exponent: float) -> Floats:
    """Of numbers above 0."""
    return exp(exponent * log(x))

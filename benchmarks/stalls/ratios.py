"""Two runs beside each other: ratios of their times with intervals, and whether one is slower.

Source: the percentile bootstrap of a ratio of medians, Efron and Tibshirani (1993), An Introduction to the Bootstrap.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from maelio.errors import BadRequest, InvalidMeasurement, Regression
from maelio.records import RunRecord

Verdict = Literal["slower", "faster", "same", "unknown"]

LEAST = 3  # values of an arm, without which nothing is known of how far they scatter
_RESAMPLED = 10_000
_INTERVAL = (2.5, 97.5)  # percent
_ALIKE = ("workload", "size", "batch_size", "compute", "step_s")  # else the same is not measured


class Ratio(BaseModel):
    """Of one arm, the time of a sample in the second run over that in the first; `low` to `high`: 95 % of resamples."""

    model_config = ConfigDict(frozen=True)

    arm: str
    before_s: float
    after_s: float
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict


def ratio_of(arm: str, before: Sequence[float], after: Sequence[float], factor: float) -> Ratio:
    """Slower is a ratio over `factor` whose interval lies above 1; faster the other way round."""
    first, second = np.array(before), np.array(after)
    ratio = float(np.median(second) / np.median(first))
    low = high = None
    verdict: Verdict = "unknown"
    if min(len(first), len(second)) >= LEAST:
        random = np.random.default_rng(0)
        drawn = _medians(second, random) / _medians(first, random)
        low, high = (float(value) for value in np.percentile(drawn, _INTERVAL))
        slower, faster = ratio > factor and low > 1, ratio < 1 / factor and high < 1
        verdict = "slower" if slower else "faster" if faster else "same"
    return Ratio(
        arm=arm,
        before_s=float(np.median(first)),
        after_s=float(np.median(second)),
        ratio=ratio,
        low=low,
        high=high,
        verdict=verdict,
    )


def _medians(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    drawn = random.integers(len(values), size=(_RESAMPLED, len(values)))
    return np.median(values[drawn], axis=1)


def compared(before: RunRecord, after: RunRecord, factor: float) -> tuple[Ratio, ...]:
    """The arms that both runs measured.

    Raises BadRequest: the runs are of different things, or have no arm in common; `factor` is not above 1.
    """
    if factor <= 1:
        raise BadRequest(f"factor={factor:g}; wanted more than 1")
    for name in _ALIKE:
        found = before.parameters.get(name), after.parameters.get(name)
        if found[0] != found[1]:
            raise BadRequest(
                f"{before.run} has {name}={found[0]!r}, {after.run} {found[1]!r}; wanted the same"
            )
    values = [_values(record) for record in (before, after)]
    if not (arms := [arm for arm in values[0] if arm in values[1]]):
        named = " and ".join(", ".join(each) or "none" for each in values)
        raise BadRequest(f"{before.run} and {after.run} have no arm in common: {named}")
    return tuple(ratio_of(arm, values[0][arm], values[1][arm], factor) for arm in arms)


def _values(record: RunRecord) -> Mapping[str, list[float]]:
    """Seconds a sample of every epoch of every arm."""
    return {
        arm: [times.wall_s / times.samples for times in epochs]
        for arm, epochs in record.arms.items()
        if epochs
    }


def differences(before: RunRecord, after: RunRecord) -> list[str]:
    """What else is not the same, in words: it may be why the times are not."""
    found = {
        **{name: (before.parameters.get(name), after.parameters.get(name)) for name in before.parameters},
        **{
            name: (getattr(before.environment, name), getattr(after.environment, name))
            for name in ("host", "processor", "cores", "memory_bytes", "python")
        },
        "packages": (before.environment.packages, after.environment.packages),
    }
    return [f"{name}: {first}, then {second}" for name, (first, second) in found.items() if first != second]


def judge(ratios: Sequence[Ratio], factor: float) -> None:
    """The null arm is not judged: it reads no data.

    Raises:
        Regression: an arm is slower. InvalidMeasurement: no arm was measured often enough to tell.
    """
    judged = [ratio for ratio in ratios if "/null/" not in ratio.arm]
    if slower := [ratio for ratio in judged if ratio.verdict == "slower"]:
        told = ", ".join(f"{ratio.arm} {ratio.ratio:.3f} times" for ratio in slower)
        raise Regression(f"slower by more than {factor:g}: {told}")
    if all(ratio.verdict == "unknown" for ratio in judged):
        raise InvalidMeasurement(
            f"no arm has {LEAST} repeats in both runs; wanted `--repeats {LEAST}` or more"
        )

"""Statistics over one dimension, such as the members of an ensemble, in place of the values themselves.

A missing member is left out and the others count, as xarray's `mean` and `std` do it by default: where all are
missing, the result is. `std` is the population's, divided by the number of members that are there (ddof=0).
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from maelio.converters.policies import Action
from maelio.errors import BadData

Statistic = Literal["mean", "std"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reduce:
    """`statistics` over `axis` of a field that has `members` values along it, computed in float64.

    A result is never made of infinite members unless the policy `non_finite` is "allow"; "refuse" refuses missing ones too.
    """

    axis: int
    members: int
    statistics: tuple[Statistic, ...]
    non_finite: Action | None = None

    def __call__(self, field: NDArray[Any]) -> list[Floats]:
        """One field for each statistic, without the axis. Raises BadData: a member is not wanted."""
        members = np.moveaxis(field, self.axis, 0)
        count, mean = _mean(members)
        self._check(count, mean)
        return [mean if statistic == "mean" else _std(members, count, mean) for statistic in self.statistics]

    def scratch(self, values: int) -> int:
        """Bytes that are held besides a field of so many values, the results among them."""
        return 6 * 8 * (values // self.members)

    def _check(self, count: NDArray[np.int64], mean: Floats) -> None:
        if self.non_finite == "allow":
            return
        if (~np.isfinite(mean) & (count > 0)).any():
            raise BadData("a member is infinite, wanted finite ones; --on non-finite=allow takes it")
        if self.non_finite == "refuse" and (fewest := int(count.min(initial=self.members))) < self.members:
            raise BadData(
                f"{self.members - fewest} of {self.members} members are missing at a place, wanted all; "
                "without --on non-finite=refuse those that are there count"
            )


def _mean(members: NDArray[Any]) -> tuple[NDArray[np.int64], Floats]:
    """How many members are there, and their mean; member by member, so that memory is that of the result."""
    count, total = np.zeros(members.shape[1:], np.int64), np.zeros(members.shape[1:])
    with np.errstate(invalid="ignore", over="ignore"):
        for member in members:
            known = ~np.isnan(member)
            count += known
            np.add(total, member, out=total, where=known)
        total /= count
    return count, total


def _std(members: NDArray[Any], count: NDArray[np.int64], mean: Floats) -> Floats:
    spread = np.zeros(mean.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        for member in members:
            away = member - mean
            np.multiply(away, away, out=away)
            np.add(spread, away, out=spread, where=~np.isnan(member))
        spread /= count
    return np.sqrt(spread, out=spread)

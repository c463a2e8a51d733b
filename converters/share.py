"""Who does what where several processes convert into one folder: neighbouring regions stay together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from maelio.converters.plan import Region
from maelio.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Share:
    """Part `number` of `of` parts, counted from 1: `3/8`.

    Raises BadRequest: there is no such part.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise BadRequest(f"part {self}: wanted a number from 1 to {self.of}, as in 1/{max(self.of, 1)}")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BadRequest: not of the form 3/8."""
        if match := re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text):
            return cls(int(match[1]), int(match[2]))
        raise BadRequest(f"part {text!r}: wanted a number and how many there are, as in 3/8")

    def take(self, regions: Sequence[Region]) -> list[Region]:
        """Regions of this part: over all parts each occurs once, and the parts are nearly equal in bytes.

        A part is what lies next to each other along the sample axis, whatever the array, so that it reads files of
        its own: taken in turns, every part would open every file and decompress chunks that others also need.
        """
        ordered = sorted(regions, key=lambda region: (region.rows.start, region.array.name))
        total = sum(region.bytes for region in ordered)
        taken, before = [], 0
        for region in ordered:
            middle = 2 * before + region.bytes  # in half bytes
            if middle * self.of // (2 * total) == self.number - 1:
                taken.append(region)
            before += region.bytes
        return taken

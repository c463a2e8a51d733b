"""What the samples are: the combinations of indexes along one dimension, or along several.

dimensions (time: 3, cell: 4)      the sample axis of a store, the first dimension the slowest
time 0   0  1  2  3
time 1   4  5  6  7                samples 2..9 are three boxes: the end of row 0, all of row 1,
time 2   8  9 10 11                the beginning of row 2
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

Box = tuple[range, ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """`shape` counts the indexes along `dimensions`, the first of which is the slowest."""

    dimensions: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return prod(self.shape)

    @property
    def width(self) -> int:
        """Samples of one index along the first dimension."""
        return prod(self.shape[1:])

    def __str__(self) -> str:
        sizes = " x ".join(map(str, self.shape))
        product = f" ({sizes})" if len(self.shape) > 1 else ""
        return f"{self.count} samples along {', '.join(map(repr, self.dimensions))}{product}"


def boxes(shape: Sequence[int], flat: range) -> Iterator[Box]:
    """The indexes `flat` of an array of `shape` in C order, as boxes that follow each other in that order."""
    if len(shape) == 1:
        if flat:
            yield (flat,)
        return
    width = prod(shape[1:])
    at = flat.start
    while at < flat.stop:
        row, within = divmod(at, width)
        if within or flat.stop - at < width:  # a part of one row
            stop = min(flat.stop, (row + 1) * width)
            for box in boxes(shape[1:], range(within, within + stop - at)):
                yield (range(row, row + 1), *box)
        else:
            stop = at + (flat.stop - at) // width * width
            yield (range(row, stop // width), *map(range, shape[1:]))
        at = stop

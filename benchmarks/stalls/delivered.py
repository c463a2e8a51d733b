"""What a layout delivers in an epoch: the checksum of every sample, and batches of it that lie in memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from crc32c import crc32c

from maelio.benchmarks.stalls.loop import Batch, count
from maelio.benchmarks.stalls.workloads import Layout
from maelio.errors import InvalidMeasurement

_HELD_BYTES = 2**28  # of the batches that the null arm has in memory: more than caches of processors


@dataclass(frozen=True, slots=True)
class Memory:
    """As many batches as `sizes` says, of so many samples each, out of a few that are held."""

    held: tuple[Batch, ...]
    sizes: tuple[int, ...]

    def __iter__(self) -> Iterator[Batch]:
        for number, size in enumerate(self.sizes):
            batch = self.held[number % len(self.held)]
            yield batch if count(batch) == size else {name: values[:size] for name, values in batch.items()}


def checksums(batch: Batch) -> list[int]:
    """CRC-32C of each sample: of all its tensors in the order of their names, with their shapes and dtypes."""
    names = sorted(batch)
    kinds = repr([(name, batch[name].dtype, tuple(batch[name].shape[1:])) for name in names]).encode()
    found = []
    for sample in range(count(batch)):
        crc = crc32c(kinds)
        for name in names:
            crc = crc32c(batch[name][sample].contiguous().numpy().data, crc)
        found.append(crc)
    return found


@dataclass(frozen=True, slots=True)
class Checked:
    """What a layout delivers in an epoch: the checksum of every sample in order, and some batches to keep in memory."""

    samples: tuple[int, ...]
    memory: Memory

    @property
    def digest(self) -> str:
        return f"{crc32c(np.array(self.samples, '<u4').tobytes()):08x}"


def check(batches: Iterable[Batch]) -> Checked:
    """Read an epoch. Only whole batches are kept, or the one there is."""
    samples: list[int] = []
    sizes: list[int] = []
    held: list[Batch] = []
    held_bytes = 0
    for batch in batches:
        samples += checksums(batch)
        sizes.append(count(batch))
        nbytes = sum(values.nbytes for values in batch.values())
        if not held or (sizes[-1] == sizes[0] and held_bytes + nbytes <= _HELD_BYTES):
            held.append({name: values.clone() for name, values in batch.items()})
            held_bytes += nbytes
    return Checked(tuple(samples), Memory(tuple(held), tuple(sizes)))


def require_equal(found: Mapping[Layout, Checked], *, in_order: bool) -> None:
    """Raises InvalidMeasurement: the layouts do not deliver the same samples, in the same order where they should."""
    first, *others = found
    wanted = found[first].samples
    for layout in others:
        mine = found[layout].samples
        if len(mine) != len(wanted):
            raise InvalidMeasurement(f"{layout} delivers {len(mine)} samples, {first} {len(wanted)}")
        if not in_order:
            mine, wanted = tuple(sorted(mine)), tuple(sorted(wanted))
        if mine != wanted:
            number = next(place for place, (a, b) in enumerate(zip(mine, wanted, strict=True)) if a != b)
            raise InvalidMeasurement(
                f"{layout} delivers another sample {number} than {first}: crc32c {mine[number]:08x} and {wanted[number]:08x}"
            )

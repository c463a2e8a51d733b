"""Carry out one region: read its rows, take their statistics, encode them, write the shard."""

import os
import queue
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maelio.converters.moments import Moments, moments_of_each
from maelio.converters.options import Options
from maelio.converters.plan import Piece, Region
from maelio.converters.shard import write_shard
from maelio.converters.source import Source
from maelio.errors import BadData
from maelio.store import Shard


class Stopped(Exception):
    """The conversion was interrupted; this region is not committed."""


@dataclass(frozen=True, slots=True)
class Done:
    """A committed region: what its file must be, and its index beside it; the moments of its variables in order.

    `chunks` are its entries of the chunk table.
    """

    array: str
    shard: int
    file: Shard
    index: Shard | None
    moments: tuple[Moments, ...]
    chunks: bytes


class Stop(Protocol):
    """Tells whether a conversion was interrupted, as `threading.Event` does."""

    def is_set(self) -> bool: ...


class Memory:
    """One block for each worker, used again for region after region: fresh pages cost more than the copy."""

    def __init__(self, workers: int, nbytes: int) -> None:
        self._free: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()
        for _ in range(workers):
            self._free.put(np.empty(nbytes, np.uint8))

    @contextmanager
    def block(self, region: Region) -> Iterator[NDArray[Any]]:
        """Of unknown content. Shape: (sample, variable, *rest), the array's dtype."""
        buffer = self._free.get()
        try:
            yield buffer[: region.bytes].view(region.array.dtype).reshape(-1, *region.array.row_shape)
        finally:
            self._free.put(buffer)


def convert_region(
    region: Region,
    sources: Sequence[Source],
    level: str | None,
    folder: Path,
    memory: Memory,
    stop: Stop,
) -> Done:
    """Write the region's shard below `folder`. A shard counts only once the journal has its `Done`.

    Raises:
        BadData: naming the file and the variable.
        Stopped: `stop` was set.
    """
    with memory.block(region) as block:
        read_region(region, sources, block, stop)
        return _finish(region, sources, block, level, folder, stop)


def _finish(
    region: Region,
    sources: Sequence[Source],
    block: NDArray[Any],
    level: str | None,
    folder: Path,
    stop: Stop,
) -> Done:
    found = examine(region, sources, block, level)
    if stop.is_set():
        raise Stopped
    file, index, chunks = write_shard(region.array, region.shard, block, folder)
    return Done(region.array.name, region.shard, file, index, found, chunks)


def examine(
    region: Region, sources: Sequence[Source], block: NDArray[Any], level: str | None
) -> tuple[Moments, ...]:
    """The moments of each variable in the block. Raises BadData: a value is not wanted."""
    rest = region.array.dimensions[2:]
    level_axis = 1 + rest.index(level) if level else None
    found = moments_of_each(block, level_axis)
    for number, of_variable in enumerate(found):
        if unwanted(of_variable, region.options):
            _refuse(region, sources, block, number)
    return found


def unwanted(found: Moments, options: Options) -> bool:
    """Values are there that are refused; statistics know it without another look at the field."""
    infinite = bool(np.isinf(found.min).any() or np.isinf(found.max).any())
    match options.on.get("non-finite"):
        case None:
            return infinite
        case "refuse":
            return infinite or bool(found.missing.any())
        case _:
            return False


def _refuse(region: Region, sources: Sequence[Source], block: NDArray[Any], number: int) -> None:
    """Raises BadData: naming the file, the variable and the sample of the first value that is not wanted."""
    for piece in region.pieces:
        for sample, values in enumerate(block[piece.into : piece.into + piece.samples, number]):
            bad = ~np.isfinite(values) if "non-finite" in region.options.on else np.isinf(values)
            if bad.any():
                raise BadData(
                    f"{sources[piece.file].path}: variable {region.array.variables[number]!r} is {values[bad][0]} at "
                    f"{_place(region, piece, sample)}, wanted a finite value; --on non-finite=allow takes it"
                )


def _place(region: Region, piece: Piece, sample: int) -> str:
    """Where the file has a sample of `piece`."""
    place = np.unravel_index(sample, piece.shape)
    feed = region.feeds[piece.file][0]
    taken: list[Sequence[int]] = [piece.rows]
    taken += [part.indexes().tolist() for part in feed.taken(piece.within).values()]
    return ", ".join(
        f"{name} {of_name[int(index)]}"
        for name, of_name, index in zip(region.samples.dimensions, taken, place, strict=True)
    )


def read_region(region: Region, sources: Sequence[Source], block: NDArray[Any], stop: Stop) -> None:
    """Fill `block` (sample, variable, *rest) with the samples of a region, decoded."""
    for piece in region.pieces:
        source = sources[piece.file]
        with open_source(source) as fd:
            for feed in region.feeds[piece.file]:
                if stop.is_set():
                    raise Stopped
                out = block[piece.into : piece.into + piece.samples, feed.numbers]
                feed.fill(fd, source, piece.rows, piece.within, out)


@contextmanager
def open_source(source: Source) -> Iterator[int]:
    """A file descriptor to read from. Raises BadData: there is none any more."""
    try:
        fd = os.open(source.path, os.O_RDONLY)
    except OSError as error:
        raise BadData(f"{source.path} can no longer be opened: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)

"""A file in parts of 8 MiB: the unit of a request, of a checksum, of a resumed download and of a repair."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from math import ceil

PART = 8 * 2**20  # bytes; digests depend on it: to change it makes every object another

_BLOCK = 2**20  # bytes read at once


def part_count(size: int) -> int:
    """How many parts a file of `size` bytes has; an empty one has none."""
    return ceil(size / PART)


def bounds(part: int, size: int) -> tuple[int, int]:
    """First byte of a part, and the one behind its last."""
    return part * PART, min((part + 1) * PART, size)


def digest_of(checksums: Iterable[bytes]) -> str:
    """The SHA-256, in hexadecimal, of the SHA-256 of every part: parts are summed in any order, by any thread."""
    return hashlib.sha256(b"".join(checksums)).hexdigest()


def split(checksums: bytes) -> Iterator[bytes]:
    """The checksums of the parts, of all of them in one string."""
    size = hashlib.sha256().digest_size
    return (checksums[first : first + size] for first in range(0, len(checksums), size))


def checksum(fd: int, start: int, stop: int) -> bytes:
    """SHA-256 of a range of an open file; of fewer bytes where it ends before."""
    found = hashlib.sha256()
    while start < stop and (block := os.pread(fd, min(_BLOCK, stop - start), start)):
        found.update(block)
        start += len(block)
    return found.digest()


def regroup(blocks: Iterable[bytes], size: int = PART) -> Iterator[list[memoryview]]:
    """The same bytes in groups of `size`, the last one shorter."""
    group: list[memoryview] = []
    room = size
    for block in blocks:
        rest = memoryview(block)
        while rest:
            group.append(rest[:room])
            rest, room = rest[room:], room - len(group[-1])
            if not room:
                yield group
                group, room = [], size
    if group:
        yield group

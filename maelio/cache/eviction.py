"""Which files go when there is no room: those unused for longest, never one that is held, none in vain."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of the cache. `used_s` since 1970; `held`: somebody has it open, or writes it."""

    name: str
    bytes: int
    used_s: float
    held: bool = False


def victims(kept: Iterable[Kept], *, limit: int | None, free: int, spare: int) -> tuple[Kept, ...] | None:
    """What has to go, the longest unused first; None where there would be no room even then.

    Args:
        limit: the most that the cache may hold, in bytes; None for no limit.
        free: bytes that the file system has left, without those that are promised to files on their way.
        spare: bytes that it shall have left afterwards, whoever filled it.
    """
    files = sorted(kept, key=lambda file: (file.used_s, file.name))
    excess = spare - free
    if limit is not None:
        excess = max(excess, sum(file.bytes for file in files) - limit)
    chosen: list[Kept] = []
    for file in files:
        if excess <= 0:
            break
        if not file.held:
            chosen.append(file)
            excess -= file.bytes
    return tuple(chosen) if excess <= 0 else None

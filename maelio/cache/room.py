"""Make room in a cache: look at what is there, decide by `eviction.victims`, remove that."""

import errno
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from maelio.cache.eviction import Kept, victims
from maelio.cache.leases import held
from maelio.cache.locks import locked
from maelio.cache.tier import Tier
from maelio.files import show_bytes

log = logging.getLogger(__name__)

_PARTIAL = "partial/"


@dataclass(frozen=True, slots=True)
class Budget:
    """`limit`: bytes that a cache may hold, None for any. `spare`: bytes that shall stay free on its disk."""

    limit: int | None
    spare: int


def make_room(tier: Tier, budget: Budget) -> None:
    """Evict until all fits that is there and on its way, which has its full size from its beginning.

    Raises OSError (ENOSPC): it would not fit whatever went. Then nothing goes.
    """
    if _fits(tier, budget):
        return
    with tier.entered(shared=False):
        there, free = contents(tier), _free(tier)
        chosen = victims(there, limit=budget.limit, free=free, spare=budget.spare)
        if chosen is None:
            raise OSError(errno.ENOSPC, _full(there, free, budget), str(tier.folder))
        remove(tier, [file.name for file in chosen])
    if chosen:
        log.info("%s: evicted %s", tier.folder, ", ".join(file.name for file in chosen))


def prune(tier: Tier, limit: int) -> tuple[Kept, ...]:
    """Evict until the cache holds at most `limit` bytes, or only what is in use; returns what went."""
    with tier.entered(shared=False):
        there = contents(tier)
        least = sum(file.bytes for file in there if file.held)
        chosen = victims(there, limit=max(limit, least), free=0, spare=0) or ()
        remove(tier, [file.name for file in chosen])
    return chosen


def _fits(tier: Tier, budget: Budget) -> bool:
    if _free(tier) < budget.spare:
        return False
    if budget.limit is None:
        return True
    objects = sum(stat.st_size for stat in tier.objects().values())
    return objects + sum(stat.st_size for _, stat in _partials(tier)) <= budget.limit


def most(tier: Tier, budget: Budget) -> int:
    """The most bytes that could come, if nothing that is there were in use."""
    there = sum(stat.st_size for stat in tier.objects().values())
    folder = next(path for path in (tier.folder, *tier.folder.absolute().parents) if path.exists())
    room = max(0, there + shutil.disk_usage(folder).free - budget.spare)
    return room if budget.limit is None else min(budget.limit, room)


def _free(tier: Tier) -> int:
    """Bytes of the file system that are neither used nor promised to a download."""
    promised = sum(max(0, stat.st_size - stat.st_blocks * 512) for _, stat in _partials(tier))
    return shutil.disk_usage(tier.root).free - promised


def _partials(tier: Tier) -> Iterator[tuple[str, os.stat_result]]:
    """Downloads on their way, and such as stopped; without their journals."""
    for entry in os.scandir(tier.root / "partial"):
        if not entry.name.endswith(".log") and not entry.name.startswith("."):
            with suppress(FileNotFoundError):  # done in this moment
                yield entry.name, entry.stat()


def _full(there: Iterable[Kept], free: int, budget: Budget) -> str:
    total, kept = sum(file.bytes for file in there), sum(file.bytes for file in there if file.held)
    limit = "" if budget.limit is None else f", {show_bytes(budget.limit)} allowed"
    return (
        f"no room: {show_bytes(free)} of the disk would be left, wanted {show_bytes(budget.spare)}; "
        f"{show_bytes(total)} in the cache{limit}, {show_bytes(kept)} of it in use"
    )


def contents(tier: Tier) -> list[Kept]:
    """All that the cache holds: objects, and downloads that are not done, which are named `partial/KEY`.

    An object was last used when one of its URLs was, or when it came. Called with the gate held alone.
    """
    used: dict[str, float] = {}
    for _, ref, when in tier.refs():
        used[ref.name] = max(when, used.get(ref.name, 0.0))
    leased = held(tier)
    return [
        Kept(name, stat.st_size, max(stat.st_mtime, used.get(name, 0.0)), name in leased)
        for name, stat in tier.objects().items()
    ] + [
        Kept(f"{_PARTIAL}{name}", stat.st_size, stat.st_mtime, _busy(tier, name))
        for name, stat in _partials(tier)
    ]


def _busy(tier: Tier, name: str) -> bool:
    with locked(tier.lock(name), tier.modes[0], wait=False) as ours:
        return not ours


def remove(tier: Tier, names: Iterable[str]) -> None:
    """Remove objects and what points to them, that first; and downloads that stopped. Called with the gate held alone."""
    names = set(names)
    for key, ref, _ in tier.refs():
        if ref.name in names:
            tier.ref(key).unlink(missing_ok=True)
    for name in names:
        if name.startswith(_PARTIAL):
            _discard(tier, name.removeprefix(_PARTIAL))
        else:
            tier.object(name).unlink(missing_ok=True)
            tier.checksums(name).unlink(missing_ok=True)


def _discard(tier: Tier, name: str) -> None:
    """A download that nobody has taken up in the meantime."""
    with locked(tier.lock(name), tier.modes[0], wait=False) as ours:
        if ours:
            path = tier.root / "partial" / name
            path.unlink(missing_ok=True)
            path.with_name(f"{name}.log").unlink(missing_ok=True)

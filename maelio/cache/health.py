"""Is everything in a cache still what was fetched? And how it becomes so again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from maelio.cache.fetch import Cache
from maelio.cache.leases import Lease
from maelio.cache.room import remove
from maelio.cache.tier import Tier
from maelio.urls import key_of


@dataclass(frozen=True, slots=True)
class Damage:
    """An object that is not what was fetched. `parts`: which of its 8 MiB; `urls`: what it stands for."""

    tier: Tier
    name: str
    parts: tuple[int, ...]
    urls: tuple[str, ...]

    def __str__(self) -> str:
        parts = f"part(s) {', '.join(map(str, self.parts))} of 8 MiB"
        return f"{self.tier.object(self.name)}: {parts} damaged; {', '.join(self.urls) or 'no URL means it'}"


def damages(tier: Tier, threads: int) -> Iterator[Damage]:
    """Read every object and compare it with its checksums; in the order of their names."""
    urls: dict[str, list[str]] = {}
    for _, ref, _ in tier.refs():
        urls.setdefault(ref.name, []).append(ref.url)
    names = sorted(tier.objects())
    with ThreadPoolExecutor(threads) as pool:
        for name, parts in zip(names, pool.map(tier.damages, names), strict=True):
            if parts:
                yield Damage(tier, name, tuple(parts), tuple(urls.get(name, ())))


def repair(cache: Cache, found: list[Damage]) -> list[str]:
    """Fetch the damaged parts again; returns the objects that nothing could be fetched for, which are gone.

    Those are such as no URL means, or only one whose key or token is not kept. Raises what `Cache.fetch` raises.
    """
    lost: list[str] = []
    for damage in found:
        refs = [(key, ref) for key, ref, _ in damage.tier.refs() if ref.name == damage.name]
        known = {key: ref for key, ref in refs if key_of(ref.url) == key}
        with Lease() as lease, cache.fetcher(lease) as fetcher:
            fetcher.all({key: partial(fetcher.renew, damage.tier, key, ref) for key, ref in known.items()})
        if not known or damage.tier.damages(damage.name):  # the server has something else by now
            with damage.tier.entered(shared=False):
                remove(damage.tier, [damage.name])
        if not known:
            lost.append(damage.name)
    return lost

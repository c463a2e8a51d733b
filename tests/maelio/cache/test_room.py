"""Room: what is unused goes, what somebody has open stays, and a disk that is full breaks nothing."""

import gc
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from maelio.cache.fetch import Cache
from maelio.cache.leases import Lease
from maelio.cache.parts import PART
from maelio.cache.room import Budget, prune
from maelio.cache.tier import Tier
from maelio.errors import MaelioError
from tests.maelio.cache import children
from tests.maelio.cache.conftest import Site

MB = 10**6


def used(cache: Cache, url: str, seconds: float) -> None:
    """As if it had been used so many seconds after 1970, and had come then."""
    for key, ref, _ in cache.own.refs():
        if ref.url == url:
            path = cache.own.object(ref.name)
            os.utime(path, (seconds, seconds))
            cache.own.write_ref(key, replace(ref, changed_ns=path.stat().st_mtime_ns))
            os.utime(cache.own.ref(key), (seconds, seconds))


def urls_in(cache: Cache) -> set[str]:
    return {ref.url.rpartition("/")[2] for _, ref, _ in cache.own.refs()}


def four(site: Site) -> list[str]:
    return [site.put(name, name.encode() * 4 * MB) for name in "abcd"]


def test_the_longest_unused_goes(site: Site, cache_at: Callable[..., Cache]) -> None:
    """Two of 4 MB fit into 10 MB; to have used one again keeps it."""
    cache, urls = cache_at("cache", limit=10 * MB), four(site)
    with Lease() as lease:
        cache.fetch(urls[:2], lease=lease)
    for when, url in enumerate(urls[:2]):
        used(cache, url, 1000 + when)
    with Lease() as lease:
        cache.fetch(urls[:1], lease=lease)
    with Lease() as lease:
        cache.fetch(urls[2:3], lease=lease)
    assert urls_in(cache) == {"a", "c"}
    assert len(list((cache.own.root / "checksums").iterdir())) == 2


def test_what_is_held_stays(site: Site, cache_at: Callable[..., Cache]) -> None:
    """In this process by a lease, and after it is forgotten no longer."""
    cache, urls = cache_at("cache", limit=10 * MB), four(site)
    lease = Lease()
    held = cache.fetch(urls[:1], lease=lease)
    used(cache, urls[0], 1000)
    for url in urls[1:]:
        with Lease() as short:
            cache.fetch([url], lease=short)
    assert held[0].exists()
    assert urls_in(cache) == {"a", "d"}
    assert len(list((cache.own.root / "leases").iterdir())) == 1
    del lease
    gc.collect()
    with Lease() as short:
        cache.fetch(urls[1:3], lease=short)
    assert urls_in(cache) == {"b", "c"}


def test_what_another_process_holds_stays_until_it_is_killed(
    site: Site, cache_at: Callable[..., Cache], tmp_path: Path
) -> None:
    cache, urls = cache_at("cache", limit=10 * MB), four(site)
    with children.child(children.hold, cache, urls[:2], tmp_path / "ready") as process:
        while not (tmp_path / "ready").exists():
            assert process.is_alive()
            time.sleep(0.01)
        with pytest.raises(
            MaelioError, match=r"/c cannot be kept: .*9\.5 MiB allowed, 11\.4 MiB of it in use"
        ):
            cache.fetch(urls[2:3])
        assert urls_in(cache) == {"a", "b"}
        process.kill()
        process.join()
    cache.fetch(urls[2:3])
    assert "c" in urls_in(cache)
    assert len(urls_in(cache)) == 2


def test_a_file_that_never_fits_is_refused_and_nothing_goes_for_it(
    site: Site, cache_at: Callable[..., Cache]
) -> None:
    cache, urls = cache_at("cache", limit=5 * MB), four(site)
    with Lease() as lease:
        cache.fetch(urls[:1], lease=lease)
    with pytest.raises(MaelioError, match="no room"):
        cache.fetch([site.put("large", bytes(6 * MB))])
    assert urls_in(cache) == {"a"}


def test_a_download_that_nobody_goes_on_with_goes_first(site: Site, cache_at: Callable[..., Cache]) -> None:
    """It is in nobody's use."""
    cache = cache_at("cache", limit=10 * MB)
    cache.own.prepare()
    stopped = cache.own.root / "partial" / ("0" * 64)
    stopped.write_bytes(bytes(7 * MB))
    os.utime(stopped, (1000, 1000))
    cache.fetch(four(site)[:1])
    assert not stopped.exists()


def test_pruning_leaves_what_is_in_use(site: Site, cache: Cache) -> None:
    urls = four(site)
    with Lease() as lease:
        cache.fetch(urls[:1], lease=lease)
        with Lease() as short:
            cache.fetch(urls[1:], lease=short)
        gone = prune(cache.own, 0)
    assert sum(file.bytes for file in gone) == 12 * MB
    assert urls_in(cache) == {"a"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "maelio", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def on(disk: Path, cache: Cache, **options: object) -> Cache:
    (disk / "cache").mkdir(exist_ok=True)
    return replace(cache, tiers=(Tier(disk / "cache"),), **options)  # type: ignore[arg-type]


def test_a_full_disk_is_one_line_and_room_mends_it(small_disk: Path, site: Site, cache: Cache) -> None:
    """Nothing is left of the attempt, no lock is in the way."""
    url = site.put("a.nc", bytes(2 * PART))
    full = on(small_disk, cache)
    with pytest.raises(MaelioError, match=r"a\.nc cannot be kept: .*disk/cache: no room") as caught:
        full.fetch([url])
    assert "\n" not in str(caught.value)
    assert not list((full.own.root / "partial").iterdir())
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    with Lease() as lease:  # it would keep the disk from being unmounted
        assert full.fetch([url], lease=lease)[0].stat().st_size == 2 * PART


def test_a_disk_that_fills_up_under_way_is_one_line_too(small_disk: Path, site: Site, cache: Cache) -> None:
    """A stream of unknown length, with nothing to reserve; the next cache takes it."""
    content = os.urandom(2 * PART)
    url = site.put("a.nc", content)
    site.web.ranges, site.web.told = "no", False
    full = on(small_disk, cache)
    with pytest.raises(MaelioError, match=r"disk/cache: No space left on device"):
        full.fetch([url])
    assert not list((full.own.root / "partial").iterdir())
    (path,) = replace(full, tiers=(full.own, cache.own)).fetch([url])
    assert path.is_relative_to(cache.own.folder)
    assert path.read_bytes() == content


def test_a_minimum_stays_free_on_the_disk(small_disk: Path, site: Site, cache: Cache) -> None:
    """What was unused longest goes for it, but nothing where others fill the disk."""
    kept = on(small_disk, cache, budget=Budget(None, 6 * 2**20))
    urls = four(site)
    for when, url in enumerate(urls[:2]):
        with Lease() as lease:
            kept.fetch([url], lease=lease)
        used(kept, url, 1000 + when)
    assert urls_in(kept) == {"b"}
    (small_disk / "of others").write_bytes(bytes(7 * 2**20))
    with pytest.raises(MaelioError, match="no room"):
        kept.fetch(urls[2:3])
    assert urls_in(kept) == {"b"}

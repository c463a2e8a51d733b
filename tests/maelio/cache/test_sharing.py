"""Many processes, users and tiers: one download, nobody shut out, nothing taken away from who has it open."""

import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from maelio.cache.fetch import Cache
from maelio.cache.parts import PART, part_count
from maelio.cache.tier import Tier
from maelio.errors import NotPermitted
from maelio.urls import key_of
from tests.maelio.cache import children
from tests.maelio.cache.conftest import Site

two_users = pytest.mark.skipif(os.getuid() != 0, reason="only root can become two other users")
ANNA, BERT = 61001, 61002


def test_processes_that_want_the_same_file_download_it_once(site: Site, cache: Cache, large: bytes) -> None:
    """Those that come later wait, and get it from the cache."""
    url = site.put("a.nc", large)
    site.web.pause_s = 0.001
    with ExitStack() as stack:
        started = [stack.enter_context(children.child(children.fetch, cache, [url])) for _ in range(3)]
        assert children.done(started)
    assert site.requests == part_count(len(large))


def test_six_processes_of_five_threads_fetch_240_files_once(site: Site, cache: Cache) -> None:
    """Each thread wants all, one by one in an order of its own: no error, and no file twice."""
    urls = [site.put(f"{number}.nc", b"%d" % number) for number in range(240)]
    with ExitStack() as stack:
        started = [
            stack.enter_context(children.child(children.fetch_in_threads, cache, urls, 5, seed))
            for seed in range(6)
        ]
        assert children.done(started)
    assert set(site.web.fetched.values()) == {1}
    assert len(site.web.fetched) == 240
    assert [path.read_bytes() for path in cache.fetch(urls)] == [b"%d" % number for number in range(240)]


def test_a_killed_holder_of_the_lock_leaves_nothing_in_the_way(
    site: Site, cache: Cache, large: bytes
) -> None:
    """Who waited goes on with what it had fetched."""
    url = site.put("a.nc", large)
    site.web.pause_s = 0.005
    with (
        children.child(children.fetch, replace(cache, connections=1), [url]) as first,
        children.child(children.fetch, cache, [url]) as second,
    ):
        while not site.requests:
            time.sleep(0.005)
        first.kill()
        site.web.pause_s = 0.0
        assert children.done([second])
    (path,) = cache.fetch([url])
    assert path.read_bytes() == large


@two_users
def test_two_users_share_a_folder_that_both_may_write(site: Site, cache: Cache, large: bytes) -> None:
    """Whatever their umask: what one fetched the other has, and what one may write the other may."""
    urls = [site.put("a.nc", large), site.put("b.nc", b"b")]
    assert children.result(children.fetch, cache, urls[:1], uid=ANNA) == [large]
    site.web.fetched.clear()
    assert children.result(children.fetch, cache, urls, uid=BERT) == [large, b"b"]
    assert site.web.fetched == {"/b.nc": 1}
    assert children.result(children.fetch, cache, urls, uid=ANNA) == [large, b"b"]
    assert site.web.fetched == {"/b.nc": 1}
    files = cache.own.root.rglob("*")
    assert {path.stat().st_mode & 0o777 for path in files if path.is_dir()} == {0o777}


@two_users
def test_a_group_shares_a_folder_of_its_own(site: Site, cache: Cache) -> None:
    """Set-group-ID folders give everything to the group; nobody else reads it."""
    folder = cache.own.folder
    os.chown(folder, 0, ANNA)
    folder.chmod(0o2770)
    children.result(children.fetch, cache, [site.put("a.nc", b"a")], uid=ANNA)
    (ref,) = (cache.own.root / "refs").iterdir()
    assert (ref.stat().st_gid, ref.stat().st_mode & 0o777) == (ANNA, 0o660)
    with pytest.raises(NotPermitted, match=r"a\.nc cannot be kept: .*cache: Permission denied"):
        children.result(children.fetch, cache, [f"{site.web.url}/a.nc"], uid=BERT)


@two_users
def test_a_user_goes_on_with_what_another_was_killed_at(site: Site, cache: Cache, large: bytes) -> None:
    url = site.put("a.nc", large)
    site.web.held_from = PART
    slow = replace(cache, connections=1)
    with children.child(children.fetch, slow, [url], uid=ANNA) as process:
        while site.requests < 2:
            time.sleep(0.005)
            assert process.is_alive()
        process.kill()
        process.join()
    site.web.reset()
    assert children.result(children.fetch, cache, [url], uid=BERT) == [large]
    assert site.requests == part_count(len(large)) - 1


@two_users
def test_a_partial_file_that_only_its_user_may_write_is_left_alone(site: Site, cache: Cache) -> None:
    """As in a folder whose permissions were changed: the other begins one of his own."""
    url = site.put("a.nc", b"here")
    children.result(children.fetch, cache, [site.put("b.nc", b"b")], uid=ANNA)
    stuck = cache.own.root / "partial" / key_of(url)
    stuck.write_bytes(b"he")
    os.chown(stuck, ANNA, ANNA)
    stuck.chmod(0o600)
    assert children.result(children.fetch, cache, [url], uid=BERT) == [b"here"]
    assert stuck.exists()


@two_users
def test_a_cache_that_may_only_be_read_is_read_and_the_next_is_written(
    site: Site, cache_at: Callable[..., Cache]
) -> None:
    """A hit comes from the shared cache, a miss goes to the private one."""
    both = cache_at("shared", "private")
    shared, private = both.tiers
    here, missing = site.put("a.nc", b"a"), site.put("b.nc", b"b")
    replace(both, tiers=(shared,)).fetch([here])
    for path in (shared.folder, *shared.folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    site.web.fetched.clear()
    assert children.result(children.fetch, both, [here, missing], uid=ANNA) == [b"a", b"b"]
    assert site.web.fetched == {"/b.nc": 1}
    assert len(private.objects()) == len(shared.objects()) == 1


def test_a_shared_cache_that_is_not_there_is_passed_over(
    site: Site, cache_at: Callable[..., Cache], open_path: Path
) -> None:
    """It is not made either: whose permissions would it have?"""
    cache = cache_at("private")
    cache = replace(cache, tiers=(Tier(open_path / "none"), *cache.tiers))
    assert cache.fetch([site.put("a.nc", b"a")])[0].is_relative_to(open_path / "private")
    assert not (open_path / "none").exists()


def test_mirrors_are_asked_first_and_in_order(site: Site, cache_at: Callable[..., Cache]) -> None:
    """One that has nothing hides none that has; none is written."""
    every = cache_at("first", "second", "private")
    urls = [site.put(name, name.encode()) for name in "abc"]
    for tier, some in zip(every.tiers, (urls[:1], urls[:2], []), strict=True):
        replace(every, tiers=(tier,)).fetch(some)
    first, second, own = every.tiers
    site.web.fetched.clear()
    mirrored = replace(every, tiers=(replace(first, fixed=True), replace(second, fixed=True), own))
    before = sorted(first.root.rglob("*"))
    homes = [path.parents[2] for path in mirrored.fetch(urls)]
    assert homes == [first.folder, second.folder, own.folder]
    assert site.web.fetched == {"/c": 1}
    assert sorted(first.root.rglob("*")) == before


def test_a_mirror_that_was_copied_without_its_times_is_read_before_it_is_used(
    site: Site, cache_at: Callable[..., Cache], tmp_path: Path, large: bytes
) -> None:
    """And is not used where a byte was lost on the way."""
    cache = cache_at("cache")
    url = site.put("a.nc", large)
    cache.fetch([url])
    for name in ("whole", "hurt"):
        shutil.copytree(cache.own.folder, tmp_path / name, copy_function=shutil.copyfile)
    hurt = next((tmp_path / "hurt").rglob("*.nc"))
    hurt.write_bytes(large[:-1] + bytes([large[-1] ^ 1]))
    offline = replace(cache, offline=True)
    (path,) = replace(offline, tiers=(Tier(tmp_path / "whole", fixed=True),)).fetch([url])
    assert path.read_bytes() == large
    assert replace(offline, tiers=(Tier(tmp_path / "hurt", fixed=True),)).missing([url]) == [url]

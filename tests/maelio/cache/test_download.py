"""Every way in which a server or a process fails in mid-download: the file is right afterwards, or the error is one line."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from maelio.cache.fetch import Cache
from maelio.cache.parts import PART
from maelio.errors import BadRequest, MaelioError, NotFound, NotPermitted
from tests.maelio.cache import children
from tests.maelio.cache.conftest import Site


def journal(cache: Cache) -> list[Path]:
    return list((cache.own.root / "partial").glob("*.log"))


def killed(cache: Cache, site: Site, url: str, parts: int) -> None:
    """Fetch in a process that is killed when so many parts are there, and the next is asked for."""
    site.web.held_from = parts * PART
    with children.child(children.fetch, replace(cache, connections=1), [url]) as process:
        lines = 1 + parts
        while site.requests < lines or sum(path.read_bytes().count(b"\n") for path in journal(cache)) < lines:
            time.sleep(0.005)
            assert process.is_alive()
        process.kill()
        process.join()
    site.web.reset()


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART])
def test_a_file_of_any_size_is_what_the_server_has(size: int, site: Site, cache: Cache) -> None:
    content = os.urandom(size)
    (path,) = cache.fetch([site.put("a.nc", content)])
    assert path.read_bytes() == content
    assert path.suffix == ".nc"
    assert path.stat().st_mode & 0o777 == 0o444
    assert not journal(cache)


def test_what_is_there_is_not_asked_for(site: Site, cache: Cache) -> None:
    """Not even whether it is still the same; the order and repetitions are those of the request."""
    urls = [site.put(name, name.encode()) for name in "abc"]
    first = cache.fetch(urls)
    assert [path.read_bytes() for path in first] == [b"a", b"b", b"c"]
    asked = site.requests
    assert cache.fetch([urls[2], urls[0], urls[2]]) == [first[2], first[0], first[2]]
    assert site.requests == asked == 3


def test_a_query_is_another_file(site: Site, cache: Cache) -> None:
    """Versions behind one path are kept apart; the same bytes are kept once."""
    url = site.put("a.nc", b"same")
    paths = cache.fetch([f"{url}?v=1", f"{url}?v=2"])
    assert site.requests == 2
    assert paths[0] == paths[1]


def test_a_killed_download_goes_on_where_it_was(site: Site, cache: Cache, large: bytes) -> None:
    url = site.put("a.nc", large)
    killed(cache, site, url, parts=2)
    (path,) = cache.fetch([url])
    assert path.read_bytes() == large
    assert site.requests == 2


def test_parts_that_the_disk_lost_are_fetched_again(site: Site, cache: Cache, large: bytes) -> None:
    """As after a power cut: the journal has them, their bytes are zeros."""
    url = site.put("a.nc", large)
    killed(cache, site, url, parts=1)
    (data,) = [path.with_suffix("") for path in journal(cache)]
    with open(data, "r+b") as file:
        file.write(bytes(100))
    (path,) = cache.fetch([url])
    assert path.read_bytes() == large


def test_a_file_that_was_replaced_is_never_mixed(site: Site, cache: Cache, large: bytes) -> None:
    """By one of the same size, after some of the first had come."""
    url = site.put("a.nc", large)
    killed(cache, site, url, parts=1)
    site.put("a.nc", large[::-1])
    (path,) = cache.fetch([url])
    assert path.read_bytes() == large[::-1]


@pytest.mark.parametrize("ranges", ["no", "stale", "wrong"])
@pytest.mark.parametrize("change", [False, True])
def test_a_server_that_stops_to_give_ranges_gives_the_whole_file(
    ranges: Literal["no", "stale", "wrong"], change: bool, site: Site, cache: Cache, large: bytes
) -> None:
    """When a download goes on; also if it answers with a range of another revision, or another range."""
    url = site.put("a.nc", large)
    killed(cache, site, url, parts=1)
    wanted = large[::-1] if change else large
    if change:
        site.put("a.nc", wanted)
    site.web.ranges = ranges
    (path,) = cache.fetch([url])
    assert path.read_bytes() == wanted


@pytest.mark.parametrize("ranges", ["no", "wrong"])
def test_a_server_without_ranges_gives_one_stream(
    ranges: Literal["no", "wrong"], site: Site, cache: Cache, large: bytes
) -> None:
    site.web.ranges = ranges
    (path,) = cache.fetch([site.put("a.nc", large)])
    assert path.read_bytes() == large
    assert site.requests <= 2


def test_a_file_without_tag_and_time_is_fetched_as_one_stream(site: Site, cache: Cache, large: bytes) -> None:
    """Nobody could tell parts of two revisions apart."""
    site.web.tagged = False
    (path,) = cache.fetch([site.put("a.nc", large)])
    assert path.read_bytes() == large
    assert site.requests == 2


def test_a_file_that_changes_under_way_is_never_mixed(site: Site, cache: Cache, large: bytes) -> None:
    url = site.put("a.nc", large)
    site.web.pause_s = 0.002
    changed = threading.Timer(0.1, site.put, ("a.nc", large[::-1]))
    changed.start()
    (path,) = replace(cache, connections=2).fetch([url])
    changed.join()
    assert path.read_bytes() in (large, large[::-1])


def test_a_download_that_was_all_there_needs_no_server(site: Site, cache: Cache, large: bytes) -> None:
    """Killed between the last byte and the new name."""
    url = site.put("a.nc", large)
    with children.child(children.fetch_to_the_brink, cache, [url]) as process:
        process.join(30)
        assert process.exitcode == -9
    site.web.fetched.clear()
    site.web.statuses["/a.nc"] = 404
    (path,) = cache.fetch([url])
    assert path.read_bytes() == large
    assert site.requests == 0


def test_a_connection_that_drops_is_made_again(site: Site, cache: Cache, large: bytes) -> None:
    """For the first part and for others; nobody notices."""
    site.web.cut = 3
    (path,) = cache.fetch([site.put("a.nc", large)])
    assert path.read_bytes() == large


def test_a_stream_that_drops_begins_again(site: Site, cache: Cache, large: bytes) -> None:
    site.web.ranges, site.web.cut = "no", 1
    (path,) = cache.fetch([site.put("a.nc", large)])
    assert path.read_bytes() == large


def test_a_busy_server_is_asked_again_when_it_wants_to_be(site: Site, cache: Cache) -> None:
    site.web.failures = [(503, {"Retry-After": "1"})]
    began = time.monotonic()
    (path,) = cache.fetch([site.put("a.nc", b"here")])
    assert path.read_bytes() == b"here"
    assert time.monotonic() - began >= 1.0


def test_a_server_that_asks_for_too_long_a_wait_is_given_up_at_once(site: Site, cache: Cache) -> None:
    site.web.failures = [(429, {"Retry-After": "3600"})]
    began = time.monotonic()
    with pytest.raises(MaelioError, match=r"a\.nc: the server answers with status 429"):
        cache.fetch([site.put("a.nc", b"here")])
    assert time.monotonic() - began < 60


def test_a_server_that_goes_on_failing_is_given_up_in_time(
    site: Site, cache_at: Callable[..., Cache]
) -> None:
    site.web.failures = [(500, {})] * 100
    with pytest.raises(MaelioError, match="status 500"):
        cache_at("cache", patience_s=1.0).fetch([site.put("a.nc", b"here")])
    assert 1 < site.requests < 100


def test_a_server_that_falls_silent_is_given_up_in_time(
    site: Site, cache_at: Callable[..., Cache], large: bytes
) -> None:
    site.web.pause_s = 1.5
    with pytest.raises(MaelioError, match=r"broke off: .*timed out"):
        cache_at("cache", patience_s=0.0, silence_s=0.3).fetch([site.put("a.nc", large)])


@pytest.mark.parametrize(
    ("status", "error"), [(404, NotFound), (410, NotFound), (403, NotPermitted), (400, MaelioError)]
)
def test_a_refusal_is_not_repeated(status: int, error: type[MaelioError], site: Site, cache: Cache) -> None:
    url = site.put("a.nc", b"here")
    site.web.statuses["/a.nc"] = status
    with pytest.raises(error, match=rf"/a\.nc.* {status}"):
        cache.fetch([url])
    assert site.requests == 1


def test_one_file_that_fails_ends_the_fetch_and_the_others_stay(site: Site, cache: Cache) -> None:
    urls = [site.put(f"{number}.nc", b"%d" % number) for number in range(5)]
    with pytest.raises(NotFound, match=r"gone\.nc"):
        replace(cache, connections=1).fetch([*urls, f"{site.web.url}/gone.nc"])
    site.web.fetched.clear()
    cache.fetch(urls)
    assert site.requests == 0


@pytest.mark.parametrize("url", ["htp://host/a.nc", "http://", "http://[1"])
def test_what_is_no_url_is_refused(url: str, cache: Cache) -> None:
    with pytest.raises(BadRequest):
        cache.fetch([url])


def test_a_host_that_is_not_there_is_told_at_once(cache_at: Callable[..., Cache]) -> None:
    """No pauses: without a network they would be in vain."""
    began = time.monotonic()
    with pytest.raises(MaelioError, match=r"cannot be reached: .*nowhere\.invalid"):
        cache_at("cache", patience_s=600.0).fetch(["http://nowhere.invalid/a.nc"])
    assert time.monotonic() - began < 300


def test_files_of_this_machine_are_themselves(tmp_path: Path, cache: Cache) -> None:
    file = tmp_path / "a file.nc"
    file.write_bytes(b"here")
    assert cache.fetch([str(file), file.as_uri()]) == [file, file]
    assert not cache.own.root.exists()
    with pytest.raises(NotFound, match=r"gone\.nc: no such file"):
        cache.fetch([str(tmp_path / "gone.nc")])


def test_an_empty_file_can_be_refreshed(site: Site, cache: Cache) -> None:
    """Though a server has no range of it to give."""
    url = site.put("a.nc", b"")
    cache.fetch([url])
    site.put("a.nc", b"new")
    assert cache.fetch([url], refresh=True)[0].read_bytes() == b"new"


def test_a_changed_file_is_fetched_when_that_is_asked_for(site: Site, cache: Cache) -> None:
    """And one that is the same is not; what readers have open stays what it is."""
    url = site.put("a.nc", b"old")
    (old,) = cache.fetch([url])
    assert cache.fetch([url], refresh=True) == [old]
    site.put("a.nc", b"new")
    assert cache.fetch([url]) == [old]
    (new,) = cache.fetch([url], refresh=True)
    assert (old.read_bytes(), new.read_bytes()) == (b"old", b"new")
    assert cache.fetch([url]) == [new]


def test_a_server_that_is_gone_changes_nothing(site: Site, cache_at: Callable[..., Cache]) -> None:
    """What is in the cache is given, with a warning."""
    cache = cache_at("cache", patience_s=0.0)
    url = site.put("a.nc", b"old")
    (old,) = cache.fetch([url])
    site.web.failures = [(503, {})]
    assert cache.fetch([url], refresh=True) == [old]

"""Damage: noticed when a file is used or read through, and mended by no more than is damaged."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from maelio.cache.fetch import Cache
from maelio.cache.health import damages, repair
from maelio.cache.parts import PART, part_count
from maelio.errors import NotFound
from tests.maelio.cache.conftest import Site


def rot(path: Path, place: int) -> None:
    """One bit turns over, and nobody wrote."""
    found = path.stat()
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("content", [b"short", bytes(3 * PART + 5), b""])
def test_a_file_that_was_overwritten_is_not_used(
    content: bytes, site: Site, cache: Cache, large: bytes
) -> None:
    """Cut short, of the same size with other bytes, or empty: it is fetched again."""
    url = site.put("a.nc", large)
    (path,) = cache.fetch([url])
    path.chmod(0o644)
    path.write_bytes(content)
    (path,) = cache.fetch([url])
    assert path.read_bytes() == large


def test_a_note_that_is_damaged_is_made_again(site: Site, cache: Cache) -> None:
    url = site.put("a.nc", b"here")
    cache.fetch([url])
    (ref,) = (cache.own.root / "refs").iterdir()
    for text in ("", "{", "[]", '{"url": 1}'):
        ref.write_text(text)
        assert cache.fetch([url])[0].read_bytes() == b"here"


def test_a_bit_that_turned_over_is_found_and_only_its_part_fetched(
    site: Site, cache: Cache, large: bytes
) -> None:
    url = site.put("a.nc", large)
    (path,) = cache.fetch([url, site.put("b.nc", b"b")])[:1]
    assert list(damages(cache.own, threads=2)) == []
    rot(path, PART + 17)
    (damage,) = damages(cache.own, threads=2)
    assert str(damage) == f"{path}: part(s) 1 of 8 MiB damaged; {url}"
    site.web.fetched.clear()
    assert repair(cache, [damage]) == []
    assert site.requests == 1
    assert cache.fetch([url]) == [path]
    assert path.read_bytes() == large
    assert list(damages(cache.own, threads=2)) == []


def test_a_file_is_repaired_from_what_the_server_has_now(site: Site, cache: Cache, large: bytes) -> None:
    """Where that changed, all of it is fetched, and the damaged one goes."""
    url = site.put("a.nc", large)
    (path,) = cache.fetch([url])
    rot(path, 0)
    site.put("a.nc", large[::-1])
    assert repair(cache, list(damages(cache.own, threads=1))) == []
    (new,) = cache.fetch([url])
    assert new.read_bytes() == large[::-1]
    assert not path.exists()


def test_checksums_that_are_lost_are_a_damage_too(site: Site, cache: Cache, large: bytes) -> None:
    """Nothing proves the bytes any more."""
    cache.fetch([site.put("a.nc", large)])
    (checksums,) = (cache.own.root / "checksums").iterdir()
    checksums.unlink()
    (damage,) = damages(cache.own, threads=1)
    assert len(damage.parts) == part_count(len(large))
    repair(cache, [damage])
    assert list(damages(cache.own, threads=1)) == []


def test_a_url_whose_key_is_not_kept_cannot_be_fetched_again(site: Site, cache: Cache) -> None:
    """Its damaged file goes; whoever has the key fetches it next time."""
    url = f"{site.put('a.nc', b'here')}?token=secret"
    (path,) = cache.fetch([url])
    (ref,) = (cache.own.root / "refs").iterdir()
    assert "secret" not in ref.read_text()
    rot(path, 1)
    assert repair(cache, list(damages(cache.own, threads=1))) == [path.name]
    assert cache.fetch([url])[0].read_bytes() == b"here"


def test_a_file_that_the_server_no_longer_has_stays_as_it_is(
    site: Site, cache_at: Callable[..., Cache]
) -> None:
    """The user may still want what is left of it."""
    cache = cache_at("cache")
    (path,) = cache.fetch([site.put("a.nc", b"here")])
    rot(path, 1)
    site.web.statuses["/a.nc"] = 404
    with pytest.raises(NotFound):
        repair(cache, list(damages(cache.own, threads=1)))
    assert path.exists()

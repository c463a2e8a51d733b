"""Sources behind URLs: files come from the cache, Zarr groups are read where they are.

    s.zarr.sources/https/host/data/t2m.nc      a link to the file in the cache, named as messages shall name it
    s.zarr.sources/https/host/era5.zarr/       the metadata of a group

fsspec matches patterns and reads groups, with whatever credentials it finds.
"""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from crc32c import crc32c

from maelio.cache.fetch import Cache
from maelio.cache.remotes import revision_of
from maelio.cache.room import most
from maelio.converters.locate import Url
from maelio.converters.origin import Located, Origin, origin_of
from maelio.converters.signature import ROOTS
from maelio.errors import BadData, BadRequest, MaelioError, NotFound, NotPermitted, Offline
from maelio.files import show_bytes, write_atomically
from maelio.remote import failure, file_system
from maelio.settings import load_settings
from maelio.urls import public

log = logging.getLogger(__name__)

_METADATA = (*ROOTS, ".zattrs", ".zmetadata")
_MARK = ".fetching"  # in every such folder: it is ours


def staging(target: Path) -> Path:
    """Where the links to sources behind URLs lie for the store that will stand at `target`."""
    return target.with_name(f"{target.name}.sources")


def located(named: Sequence[Path | Url], folder: Path | None, group: str = "") -> list[Located]:
    """Every name as something local, in order; links to what is behind URLs come into `folder`.

    Files come through the cache of the settings, which is asked whether the server still has the same, and they stay
    there until this process ends. Of a Zarr group, `group` is taken.

    Raises:
        NotFound, NotPermitted: a server says so. MaelioError: it does not answer, or the cache is too small.
        BadRequest: nothing known reads such a URL, or one comes twice.
        Missing: a package that reads such URLs is not installed.
        BadData: a URL is a folder, or a file changes while it is fetched.
        Offline: the setting `offline` holds, and something is not in the cache, or is a pattern.
    """
    if not any(isinstance(name, Url) for name in named):
        return [Located(name) for name in named if isinstance(name, Path)]
    if folder is None:
        raise BadRequest("URLs need a folder where links to them come to lie")
    cache = Cache.of(load_settings())
    with _ours(folder):
        meant = [_expand(name.text, cache) if isinstance(name, Url) else [] for name in named]
        urls = [url for several in meant for url in several]
        _check_distinct(urls)
        groups = _groups(cache, urls, group)
        files = [url for url in urls if url not in groups]
        found = {url: _put(each, folder) for url, each in groups.items()}
        for url, file in zip(files, cache.files(files, refresh=True), strict=True):
            assert file.ref is not None
            found[url] = Located(_link(folder / place(url), file.path), origin_of(url, file.ref.revision))
        return [
            located
            for name, several in zip(named, meant, strict=True)
            for located in ([Located(name)] if isinstance(name, Path) else [found[url] for url in several])
        ]


def discard(folder: Path) -> None:
    """Remove the links, if there is such a folder and it is ours."""
    if (folder / _MARK).exists():
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True)
class _Group:
    """A Zarr group behind a URL, and what is in its root."""

    url: str
    metadata: dict[str, bytes]


def place(url: str) -> Path:
    """Where a URL is kept below the folder: readable, without secrets, within it."""
    parts = [
        part
        for link in reversed(public(url).split("::"))
        for part in (*link.replace("://", "/").split("/"), "::")
    ][:-1]
    return Path(*(_short(quote(part, safe=" :=&,;+@[]()~")) for part in parts if part not in ("", ".", "..")))


def _short(name: str) -> str:
    """A name that every file system takes, with room for an ending."""
    return name if len(name) <= 200 else f"{name[:160]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _expand(url: str, cache: Cache) -> list[str]:
    """What a URL means: itself, or all that match it, sorted."""
    fs, path = file_system(url)
    if not has_magic(path.replace("?", "") if "http" in fs.protocol else path):
        return [url]
    if cache.offline:
        raise Offline(f"offline, and only its server knows what matches {public(url)}")
    try:
        matching = sorted(fs.glob(path))
    except Exception as error:
        raise failure(url, error) from error
    if not matching:
        raise NotFound(f"{public(url)}: no file matches")
    behind = url.partition("::")[1:]
    return ["".join((fs.unstrip_protocol(found), *behind)) for found in matching]


def _groups(cache: Cache, urls: Sequence[str], group: str) -> dict[str, _Group]:
    """Those of the URLs that are Zarr groups: what is in a cache is none. For what is in none there has to be room."""
    missing = [] if cache.offline else cache.missing(urls)
    if not missing:
        return {}
    with ThreadPoolExecutor(cache.connections) as threads:
        seen = dict(zip(missing, threads.map(partial(_look, group=group), missing), strict=True))
    _check_space(cache, [size for size in seen.values() if not isinstance(size, _Group)])
    return {url: found for url, found in seen.items() if isinstance(found, _Group)}


def _look(url: str, group: str) -> _Group | int | None:
    """Ask what is there: a group, or a file and its size, None where that is not told."""
    fs, path = file_system(url)
    try:
        return _found(url, fs, path, group)
    except MaelioError:
        raise
    except Exception as error:
        raise failure(url, error) from error


def _found(url: str, fs: Any, path: str, group: str) -> _Group | int | None:
    inner, *around = url.partition("::")
    named = "".join((_below(inner, group), *around))
    if ".zarr" in path or path.endswith("/"):  # HTTP has no folders to ask for
        metadata = _metadata(fs, _below(path, group))
        if metadata:
            return _Group(named, metadata)
    info = fs.info(path)
    if info.get("type") != "directory":
        return revision_of(info).bytes
    metadata = _metadata(fs, _below(path, group))
    if metadata:
        return _Group(named, metadata)
    raise BadData(f"{public(named)} is a folder, no Zarr group; name the files in it: '{public(named)}/*'")


def _below(folder: str, name: str) -> str:
    """`name` within a folder, which may be the root or nothing."""
    if not name.strip("/"):
        return folder
    return f"{folder.rstrip('/')}/{name.strip('/')}" if folder else name.strip("/")


def _metadata(fs: Any, path: str) -> dict[str, bytes]:
    """What is in the root of a group; nothing where it is none."""
    found = [name for name in _METADATA if fs.exists(_below(path, name))]
    return {name: fs.cat_file(_below(path, name)) for name in found} if {*found} & {*ROOTS} else {}


def _put(group: _Group, folder: Path) -> Located:
    """The root of a group, written; its checksum says whether the group changed."""
    if "maelio.json" in group.metadata or b'"maelio"' in group.metadata.get("zarr.json", b""):
        raise BadRequest(f"{public(group.url)} is a store of maelio: copy it here, and convert that")
    local = folder / place(group.url)
    local.mkdir(parents=True, exist_ok=True)
    for name, content in group.metadata.items():
        write_atomically(local / name, content)
    checksum = crc32c(b"".join(group.metadata.values()))
    return Located(local, Origin(group.url, etag=f"crc32c:{checksum:08x}", in_place=True))


def _link(local: Path, file: Path) -> Path:
    """A link to `file`, instead of what is there."""
    local.parent.mkdir(parents=True, exist_ok=True)
    made = local.with_name(f".{uuid4().hex}")
    made.symlink_to(file.absolute())
    return made.replace(local)


def _check_distinct(urls: Iterable[str]) -> None:
    places: dict[Path, str] = {}
    for url in urls:
        other = places.setdefault(place(url), url)
        if other is not url:
            raise BadRequest(f"{public(other)} and {public(url)} are one source, named twice")


def _check_space(cache: Cache, sizes: Sequence[int | None]) -> None:
    if not sizes:
        return
    wanted = sum(size or 0 for size in sizes)
    room = {tier.folder: most(tier, cache.budget) for tier in cache.tiers if not tier.fixed}
    if wanted > sum(room.values()):
        caches = ", ".join(f"{folder} has room for {show_bytes(size)}" for folder, size in room.items())
        raise MaelioError(f"{show_bytes(wanted)} would be fetched, {caches}")
    log.warning("fetching %d source(s), %s, into the cache", len(sizes), show_bytes(wanted))


@contextmanager
def _ours(folder: Path) -> Iterator[None]:
    """The folder, made where it is not there; gone again where nothing came."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = NotPermitted if isinstance(error, PermissionError) else MaelioError
        raise kind(f"{folder} cannot be written: {error.strerror}") from error
    if not (folder / _MARK).exists() and any(folder.iterdir()):
        raise BadRequest(f"{folder} is in the way: it holds no sources of ours; move it")
    (folder / _MARK).touch()
    try:
        yield
    finally:
        if all(path.name == _MARK for path in folder.iterdir()):
            discard(folder)

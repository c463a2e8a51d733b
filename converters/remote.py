"""Sources behind URLs: whole files are fetched into a folder beside the target, Zarr groups are read where they are.

    s.zarr.sources/https/host/data/t2m.nc           a file, under its name when it is whole
    s.zarr.sources/https/host/data/t2m.nc.origin    what its server said: a file counts only with this
    s.zarr.sources/https/host/data/t2m.nc.part      a file on its way

fsspec reads them all, with whatever credentials it finds. Its `filecache` is not used: it takes note of files
once all of them are there, and does not see that a file behind HTTP has changed.
"""

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import shutil
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from glob import has_magic
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from crc32c import crc32c
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem, get_loop
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from maelio.converters.locate import Url
from maelio.converters.origin import Located, Origin, origin_of
from maelio.converters.signature import ROOTS
from maelio.errors import BadData, BadRequest, MaelioError, NotFound, NotPermitted
from maelio.files import show_bytes, write_atomically
from maelio.remote import failure, file_system
from maelio.urls import public

log = logging.getLogger(__name__)

AT_ONCE = 8  # requests on their way, where the file system can do several
PAUSES_S = (1.0, 4.0)  # before a file that broke off is fetched again

_PATIENCE_S = 5.0  # for what cannot be interrupted
_METADATA = (*ROOTS, ".zattrs", ".zmetadata")
_MARK = ".fetching"  # in every such folder: it is ours, and who has it locked fetches

T = TypeVar("T")


def staging(target: Path) -> Path:
    """Where files are fetched to for the store that will stand at `target`."""
    return target.with_name(f"{target.name}.sources")


def located(named: Sequence[Path | Url], folder: Path | None, group: str = "") -> list[Located]:
    """Every name as something local, in order; what is behind a URL is fetched into `folder`.

    Files that are there already, and still are what the server has, are not fetched again. Of a Zarr group, `group`
    is taken.

    Raises:
        NotFound, NotPermitted: a server says so. MaelioError: it does not answer, or the disk is too small.
        BadRequest: nothing known reads such a URL, or one comes twice; or another process is fetching into `folder`.
        Missing: a package that reads such URLs is not installed.
        BadData: a URL is a folder, or a file changed while it was fetched.
    """
    if not any(isinstance(name, Url) for name in named):
        return [Located(name) for name in named if isinstance(name, Path)]
    if folder is None:
        raise BadRequest("URLs need a folder to be fetched into")
    with _held(folder):
        remotes = [_expand(name.text) if isinstance(name, Url) else [] for name in named]
        things = _all((each, partial(_look, each, group)) for several in remotes for each in several)
        _check_distinct(things, folder)
        _check_space([thing for thing in things if not (thing.roots or thing.is_in(folder))], folder)
        fetched = iter(_all((thing.remote, partial(_fetch, thing, folder)) for thing in things))
        return [
            place
            for name, several in zip(named, remotes, strict=True)
            for place in ([Located(name)] if isinstance(name, Path) else [next(fetched) for _ in several])
        ]


def discard(folder: Path) -> None:
    """Remove what was fetched, if there is such a folder and it is ours."""
    if (folder / _MARK).exists():
        shutil.rmtree(folder)


@dataclass(frozen=True, slots=True, eq=False)
class _Remote:
    """One file or group. `path` is its name within `fs`; `raw` is that file system as it was opened."""

    url: str
    raw: AbstractFileSystem
    fs: AsyncFileSystem
    path: str


@dataclass(frozen=True, slots=True, eq=False)
class _Thing:
    """What a remote is: a file, or a Zarr group with these `roots` of metadata."""

    remote: _Remote
    origin: Origin
    roots: tuple[str, ...] = ()

    def local(self, folder: Path) -> Path:
        return folder / place(self.remote.url)

    def is_in(self, folder: Path) -> bool:
        """A file that is whole, and is what the server has now."""
        local = self.local(folder)
        return bool(
            not self.roots
            and self.origin.tells
            and local.is_file()
            and self.origin.bytes in (None, local.stat().st_size)
            and _noted(local) == _to_note(self.origin)
        )


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


def _expand(url: str) -> list[_Remote]:
    """What a URL means: itself, or all that match it, sorted."""
    raw, path = file_system(url)
    fs = raw
    if not isinstance(raw, AsyncFileSystem):  # then it need not bear two calls at once
        fs = AsyncFileSystemWrapper(raw, asynchronous=False, semaphore=asyncio.Semaphore(1))
    if not has_magic(path.replace("?", "") if "http" in raw.protocol else path):
        return [_Remote(url, raw, fs, path)]
    try:
        matching = sorted(raw.glob(path))
    except Exception as error:
        raise failure(url, error) from error
    if not matching:
        raise NotFound(f"{public(url)}: no file matches")
    behind = url.partition("::")[1:]
    return [_Remote("".join((raw.unstrip_protocol(found), *behind)), raw, fs, found) for found in matching]


async def _look(remote: _Remote, group: str) -> _Thing:
    """Ask what is there."""
    zarr = _within(remote, group)
    like_a_group = ".zarr" in remote.path or remote.path.endswith("/")  # HTTP has no folders to ask for
    if like_a_group and (roots := await _roots(zarr)):
        return _Thing(zarr, Origin(zarr.url, in_place=True), roots)
    info = await remote.fs._info(remote.path)
    if info.get("type") != "directory":
        return _Thing(remote, origin_of(remote.url, info))
    if roots := await _roots(zarr):
        return _Thing(zarr, Origin(zarr.url, in_place=True), roots)
    raise BadData(
        f"{public(zarr.url)} is a folder, no Zarr group; name the files in it: '{public(zarr.url)}/*'"
    )


def _within(remote: _Remote, group: str) -> _Remote:
    """A group below."""
    if not group.strip("/"):
        return remote
    inner, *around = remote.url.partition("::")
    inner = f"{inner.rstrip('/')}/{group.strip('/')}"
    return replace(
        remote, url="".join((inner, *around)), path=f"{remote.path.rstrip('/')}/{group.strip('/')}"
    )


async def _roots(remote: _Remote) -> tuple[str, ...]:
    found = [name for name in _METADATA if await remote.fs._exists(_inside(remote, name))]
    return tuple(found) if {*found} & {*ROOTS} else ()


def _inside(remote: _Remote, name: str) -> str:
    return f"{remote.path.rstrip('/')}/{name}" if remote.path else name


async def _fetch(thing: _Thing, folder: Path) -> Located:
    if thing.roots:
        return await _fetch_metadata(thing, folder)
    local, remote = thing.local(folder), thing.remote
    if not thing.is_in(folder):
        await _persistently(remote, partial(_get, thing, local))
        remote.raw.invalidate_cache()
        if origin_of(remote.url, await remote.fs._info(remote.path)) != thing.origin:
            raise BadData(f"{public(remote.url)} changed while it was fetched")
        write_atomically(_note(local), json.dumps(_to_note(thing.origin)).encode())
    return Located(local, thing.origin)


async def _persistently(remote: _Remote, job: Callable[[], Awaitable[None]]) -> None:
    """Do it again, after a pause, where a server breaks off or has no time; not where it refuses."""
    for pause in (*PAUSES_S, None):
        try:
            return await job()
        except Exception as error:
            found = error if isinstance(error, MaelioError) else failure(remote.url, error)
            if pause is None or type(found) is not MaelioError:
                raise found from error
            log.warning("%s; again in %g s", found, pause)
            await asyncio.sleep(pause)


async def _get(thing: _Thing, local: Path) -> None:
    """The whole file or none of it, and no note of an earlier one. Raises MaelioError: its size is not what was told."""
    remote = thing.remote
    local.parent.mkdir(parents=True, exist_ok=True)
    _note(local).unlink(missing_ok=True)
    part = local.with_name(f"{local.name}.part")
    await remote.fs._get_file(remote.path, str(part))
    if thing.origin.bytes not in (None, size := part.stat().st_size):
        raise MaelioError(f"{public(remote.url)}: {size} bytes came, wanted {thing.origin.bytes}")
    os.replace(part, local)


async def _fetch_metadata(thing: _Thing, folder: Path) -> Located:
    """The root of a Zarr group; its checksum says whether the group changed."""
    remote = thing.remote
    contents = {name: await remote.fs._cat_file(_inside(remote, name)) for name in thing.roots}
    if "maelio.json" in contents or b'"maelio"' in contents.get("zarr.json", b""):
        raise BadRequest(f"{public(remote.url)} is a store of maelio: copy it here, and convert that")
    local = thing.local(folder)
    local.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(local / name, content)
    checksum = crc32c(b"".join(contents.values()))
    return Located(local, replace(thing.origin, etag=f"crc32c:{checksum:08x}"))


def _note(local: Path) -> Path:
    return local.with_name(f"{local.name}.origin")


def _to_note(origin: Origin) -> dict[str, Any]:
    return asdict(replace(origin, url=public(origin.url)))


def _noted(local: Path) -> Any:
    """What was noted when the file was fetched; None where nothing was."""
    try:
        return json.loads(_note(local).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _check_distinct(things: Sequence[_Thing], folder: Path) -> None:
    places: dict[Path, str] = {}
    for thing in things:
        other = places.setdefault(thing.local(folder), thing.remote.url)
        if other is not thing.remote.url:
            raise BadRequest(f"{public(other)} and {public(thing.remote.url)} are one source, named twice")


def _check_space(things: Sequence[_Thing], folder: Path) -> None:
    wanted = sum(thing.origin.bytes or 0 for thing in things)
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise MaelioError(f"{folder}: {show_bytes(wanted)} would be fetched, {show_bytes(free)} are free")
    if things:
        log.warning("fetching %d source(s), %s, into %s", len(things), show_bytes(wanted), folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The folder, made where it is not there, held against other processes; gone again where nothing came."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = NotPermitted if isinstance(error, PermissionError) else MaelioError
        raise kind(f"{folder} cannot be written: {error.strerror}") from error
    if not (folder / _MARK).exists() and any(folder.iterdir()):
        raise BadRequest(f"{folder} is in the way: it holds no fetched sources; move it")
    fd = os.open(folder / _MARK, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadRequest(f"{folder}: another process is fetching here") from None
        try:
            yield
        finally:
            if all(path.name == _MARK for path in folder.iterdir()):
                discard(folder)
    finally:
        os.close(fd)


Jobs = Iterable[tuple[_Remote, Callable[[], Awaitable[T]]]]


def _all(jobs: Jobs[T]) -> list[T]:
    """Do it for all, several at once; results in order. The first failure ends the others, and is raised."""
    over = threading.Event()

    async def run() -> list[T]:
        try:
            return await _gather(jobs)
        finally:
            over.set()

    future = asyncio.run_coroutine_threadsafe(run(), get_loop())
    try:
        return future.result()
    except BaseException:  # Ctrl-C too
        future.cancel()
        over.wait(_PATIENCE_S)
        raise


async def _gather(jobs: Jobs[T]) -> list[T]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(remote: _Remote, job: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            try:
                return await job()
            except MaelioError:
                raise
            except Exception as error:
                raise failure(remote.url, error) from error

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(remote, job)) for remote, job in jobs]
    except ExceptionGroup as several:
        raise several.exceptions[0] from several.exceptions[0].__cause__
    return [task.result() for task in tasks]

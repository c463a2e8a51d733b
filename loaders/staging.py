"""A store behind a URL, or on a slow disk: opened by its metadata alone, its shards to be staged on a fast disk."""

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from maelio.errors import BadData, BadRequest, MaelioError, NotFound
from maelio.files import show_bytes
from maelio.foreign import Foreign
from maelio.loaders.needs import Files
from maelio.loaders.shardfile import Patience, Stopped
from maelio.loaders.stagefolder import StageFolder
from maelio.remote import failure, file_system
from maelio.settings import load_settings
from maelio.store import COORDINATES, ROOTS, Store, parse_store
from maelio.urls import local_name, public

CONNECTIONS = 8
NETWORK_PAUSE_S = 0.5  # before the second try; then twice that, and so on

_POLL_S = 0.1
_NEVER = threading.Event()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Staging:
    """Where the shards of a stream come from, a URL or a path, and the folder in which they are staged.

    `limit`: the most bytes of that folder; None: no limit. `keep` them for later runs.
    """

    url: str
    folder: Path
    limit: int | None
    keep: bool
    connections: int = CONNECTIONS

    def holds(self, files: Files) -> bool:
        """Whether there is room for all of them at a time."""
        return self.limit is None or files.nbytes <= self.limit


class Origin:
    """Files below a URL or a path, read by ranges; several threads may read at the same time.

    Raises as `file_system`.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._fs, path = file_system(url)
        self._path = path.rstrip("/")
        at_once = isinstance(self._fs, AsyncFileSystem | LocalFileSystem | MemoryFileSystem)
        self._turn: Any = nullcontext() if at_once else threading.Lock()

    def name(self, key: str) -> str:
        """For messages: no secrets."""
        return f"{public(self.url)}/{key}"

    def read(
        self, key: str, start: int | None = None, stop: int | None = None, cancelled: threading.Event = _NEVER
    ) -> bytes:
        """The bytes of a file from `start` to `stop`; all of them where the server does not know of ranges.

        Raises:
            NotFound, NotPermitted: it says so. MaelioError: it fails in a way that may pass.
            Stopped: `cancelled` was set meanwhile.
        """
        path = f"{self._path}/{key}"
        try:
            if isinstance(self._fs, AsyncFileSystem):
                return _wait(self._fs._cat_file(path, start=start, end=stop), self._fs.loop, cancelled)
            with self._turn:
                content: bytes = self._fs.cat_file(path, start=start, end=stop)
                return content
        except Stopped:
            raise
        except Exception as error:
            raise failure(f"{self.url}/{key}", error) from error


def _wait(
    job: Coroutine[Any, Any, bytes], loop: asyncio.AbstractEventLoop, cancelled: threading.Event
) -> bytes:
    future = asyncio.run_coroutine_threadsafe(job, loop)
    try:
        while not cancelled.is_set():
            try:
                return future.result(_POLL_S)
            except TimeoutError:
                if future.done():  # the server's, not ours
                    raise
        raise Stopped
    finally:
        future.cancel()


def persistently(
    read: Callable[[], T], patience: Patience, cancelled: threading.Event = _NEVER, what: str = ""
) -> T:
    """Try again, after a pause that doubles, where a server breaks off or has no time; not where it refuses.

    Raises what `read` does; the last failure says how often it was tried, and of `what`.
    """
    failed = 0
    while True:
        try:
            return read()
        except MaelioError as error:
            failed += 1
            if type(error) is not MaelioError:
                raise type(error)(f"{error}{what}") from error
            if failed > patience.retries:
                raise MaelioError(f"{error}{what}, tried {failed} times") from error
            if cancelled.wait(patience.pause_s * 2 ** (failed - 1)):
                raise Stopped from None


def open_staged(
    asked: str | Path | Store | Sequence[str | Path],
    folder: str | Path | None,
    *,
    limit: int | None,
    keep: bool,
    retries: int,
) -> tuple[Store, Staging] | None:
    """A store whose metadata lie in the stage `folder`, and whose shards are to come there.

    Without a folder, those of a URL come to `stage` in the cache of the settings; None: this is no single URL.

    Raises:
        BadRequest: the folder holds something else, or one of store and folder lies in the other.
        NotFound, NotPermitted, BadData: there is no store, or it may not be read.
        MaelioError: the server does not answer, or the folder cannot be written.
    """
    if limit is not None and limit < 1:
        raise BadRequest(f"stage_bytes={limit}; wanted 1 or more")
    url = _url(asked)
    path = None if url is None else local_name(url)
    if folder is None and (url is None or path is not None):
        if limit is not None:
            raise BadRequest(f"stage_bytes={limit} without stage; wanted a folder")
        return None
    if url is None:
        raise BadRequest(f"stage={folder}: a single store is staged; convert what is none")
    where = load_settings().cache / "stage" if folder is None else Path(folder)
    if path is not None:
        _check_apart(Path(path), where)
    origin = Origin(url if path is None else str(Path(path).absolute()))
    patience = Patience(retries, NETWORK_PAUSE_S)
    root, text = _root(origin, patience)
    stage = StageFolder(where, limit)
    entry = stage.entry(origin.url.rpartition("/")[2], text)
    store = parse_store(entry, root, text, public(url))
    _check_names(store, public(url))
    small = {**dict(_tables(origin, store, patience)), **dict(_coordinates(origin, store, patience))}
    stage.put(entry, {**small, root: text})
    return store, Staging(origin.url, stage.path, limit, keep)


def _url(asked: object) -> str | None:
    """The path or URL of one store, as far as one can tell by asking; None where it is something else."""
    match asked:
        case Foreign():
            return None
        case Store():
            return str(asked.path)
        case str() | Path():
            return str(asked)
    return None


def check_disk(store: Store, staging: Staging, files: Files) -> None:
    """Raises MaelioError: the disk of the stage has no room for what will come, up to the limit."""
    stage = StageFolder(staging.folder, staging.limit)
    coming = sum(file.bytes for file in files.files if not (store.path / file.key).exists())
    if staging.limit is not None:
        with stage.locked():
            coming = min(coming, max(staging.limit - stage.used(), 0))
    free = shutil.disk_usage(stage.path).free
    if coming > free:
        raise MaelioError(
            f"stage={stage.path}: {show_bytes(coming)} of {public(staging.url)} would be fetched, "
            f"{show_bytes(free)} are free; stage_bytes limits what is staged at a time"
        )


def _check_apart(store: Path, folder: Path) -> None:
    store, folder = store.resolve(), folder.resolve()
    if store.is_relative_to(folder) or folder.is_relative_to(store):
        raise BadRequest(f"stage={folder} and the store {store}: one lies in the other; name another folder")


def _check_names(store: Store, name: str) -> None:
    """Raises BadData: an array or a dimension has a name that would be a file elsewhere."""
    names = {each for array in store.arrays.values() for each in (array.name, *array.dimensions)}
    if strange := [each for each in names if not each or "/" in each or each.startswith(".")]:
        raise BadData(f"{name}: an array or dimension named {min(strange)!r}")


def _root(origin: Origin, patience: Patience) -> tuple[str, bytes]:
    """The file that makes it a store, and what it says."""
    for root in ROOTS:
        try:
            return root, persistently(partial(origin.read, root), patience)
        except NotFound:
            continue
    raise NotFound(
        f"{public(origin.url)}: no such store, it has no {' and no '.join(ROOTS)}; what is none, `maelio convert` reads"
    )


def _tables(origin: Origin, store: Store, patience: Patience) -> Iterator[tuple[str, bytes]]:
    """Where all chunks are: 20 bytes for each."""
    for name, stack in store.contents.stacks.items():
        if stack.table is not None:
            key = store.arrays[name].table_key
            yield key, persistently(partial(origin.read, key), patience)


def _coordinates(origin: Origin, store: Store, patience: Patience) -> Iterator[tuple[str, bytes]]:
    """The coordinates of levels and of a map's axes: few, and small."""
    before, arrays = "", store.metadata
    if store.contents.container != "zarr":
        before = f"{COORDINATES}/"
        group = persistently(partial(origin.read, f"{before}zarr.json"), patience)
        yield f"{before}zarr.json", group
        arrays = json.loads(group)["consolidated_metadata"]["metadata"]
    for name in sorted({name for array in store.arrays.values() for name in array.dimensions[2:]}):
        for key in _chunks(arrays[name]) if name in arrays else ():
            with suppress(NotFound):  # a chunk of fill values alone
                place = f"{before}{name}/{key}"
                yield place, persistently(partial(origin.read, place), patience)


def _chunks(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Keys of the chunks of a Zarr array, version 3."""
    along = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    encoding = metadata["chunk_key_encoding"]
    separator = encoding.get("configuration", {}).get(
        "separator", "/" if encoding["name"] == "default" else "."
    )
    for place in product(
        *(range(ceil(size / step)) for size, step in zip(metadata["shape"], along, strict=True))
    ):
        yield separator.join((*["c"][: encoding["name"] == "default"], *map(str, place)))

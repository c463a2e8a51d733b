"""A folder of staged shards, shared by processes: what lies there, who uses it, and what goes when room is wanted.

    stage/.maelio-stage                           this folder is ours; who has it locked changes what is in it
    stage/era5.zarr-1f0c.../zarr.json             the root of a store; the folder's name ends with its digest
    stage/era5.zarr-1f0c.../fields/c/0/0/0/0      a shard, whole and checked; locked (shared) by who will read it
    stage/era5.zarr-1f0c.../fields/c/1/0/0/0.134217732.part
                                                  a shard on its way, which will have so many bytes; locked by who
                                                  fetches it. One that is not locked was left by a process that died

Locks are those of flock(2), which end with their process however it ends. Removed are shards and parts of shards
alone, by the list in the root of their store, and never through a link.
"""

import fcntl
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maelio.errors import BadRequest, MaelioError, NotPermitted
from maelio.files import write_atomically
from maelio.store import may_be_store, open_store, root_of

_MARK = ".maelio-stage"
_PART = re.compile(r"(.+)\.(\d+)\.part")
_NAME = re.compile(r"[^A-Za-z0-9._=+-]+")


@dataclass(frozen=True, slots=True)
class Fetching:
    """A part of `path` that is this process's to complete; `descriptor` holds its lock."""

    path: Path
    part: Path
    descriptor: int


Busy = Literal["busy", "full"]


class StageFolder:
    """The folder at `path`, made where it is not there; `limit` bytes are the most that its shards may have.

    Raises:
        BadRequest: it holds something else. NotPermitted, MaelioError: it cannot be written.
    """

    def __init__(self, path: Path, limit: int | None) -> None:
        self.path = path.absolute()
        self.limit = limit
        self._shards: dict[Path, frozenset[Path]] = {}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not (self.path / _MARK).exists() and any(self.path.iterdir()):
                raise BadRequest(f"stage={path} is in the way: it holds no stage; name a new or empty folder")
            (self.path / _MARK).touch()
        except OSError as error:
            if isinstance(error, MaelioError):
                raise
            kind = NotPermitted if isinstance(error, PermissionError) else MaelioError
            raise kind(f"stage={path} cannot be written: {error.strerror}") from error

    def entry(self, name: str, root: bytes) -> Path:
        """Where the store with this root metadata is staged."""
        return self.path / f"{_NAME.sub('_', name).strip('.') or 'store'}-{_digest(root)}"

    def put(self, entry: Path, files: Mapping[str, bytes]) -> None:
        """The small files of a store, the last of them its root."""
        with self.locked():
            for key, content in files.items():
                target = entry / key
                if not target.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(target, content)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all processes and threads."""
        descriptor = os.open(self.path / _MARK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def used(self) -> int:
        """Bytes of all shards, those on their way with all that they will have. The folder is locked."""
        return sum(map(_size, self._staged()))

    def hold(self, path: Path, nbytes: int) -> int | None:
        """A descriptor that keeps others from removing a whole shard. None: there is none of that size.

        The folder is locked.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        if os.fstat(descriptor).st_size != nbytes:
            os.close(descriptor)
            path.unlink()
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        os.utime(descriptor)
        return descriptor

    def begin(
        self, path: Path, nbytes: int, spare: Mapping[Path, int], keep: Collection[Path], *, urgent: bool
    ) -> Fetching | Busy:
        """Begin, or go on, to fetch a shard that is not there, after room was made for it. The folder is locked.

        What nobody holds goes first, the longest unused before the rest. Then go those of `spare` that no other
        process holds, in that order: shards that this one holds by these descriptors and can do without for now;
        it lets go of those that are gone. Where it is `urgent`, all but `keep` goes: others who hold it have it
        open, or fetch it again.
        """
        part = path.with_name(f"{path.name}.{nbytes}.part")
        new = not part.exists()
        if new and not self.make_room(nbytes, spare, keep, urgent=urgent):
            return "full"
        part.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
        if not _try_lock(descriptor):
            os.close(descriptor)
            return "busy"
        return Fetching(path, part, descriptor)

    def finish(self, fetching: Fetching) -> int:
        """What was fetched is whole: let it appear, held by the descriptor that is returned."""
        os.fsync(fetching.descriptor)
        with self.locked():
            os.rename(fetching.part, fetching.path)
            fcntl.flock(fetching.descriptor, fcntl.LOCK_SH)
        return fetching.descriptor

    def remove(self, paths: Iterable[Path]) -> None:
        """Those shards that nobody holds, and folders that are empty then."""
        with self.locked():
            for path in paths:
                if path.exists():
                    _unlink_unused(path)

    def make_room(
        self, nbytes: int, spare: Mapping[Path, int], keep: Collection[Path], *, urgent: bool
    ) -> bool:
        """Let go, as `begin` says, until `nbytes` more fit. False: they do not. The folder is locked."""
        if self.limit is None:
            return True
        staged = list(self._staged())
        over = sum(map(_size, staged)) + nbytes - self.limit
        if over <= 0:
            return True
        staged.sort(key=lambda path: path.stat().st_mtime_ns)
        others = [path for path in staged if path not in spare and path not in keep]
        for remove, paths in (
            (_unlink_unused, others),
            (lambda path: _unlink_spare(path, spare[path]), spare),
            (_unlink_whole, [*spare, *others] if urgent else []),
        ):
            for path in paths:
                if over <= 0:
                    return True
                over -= remove(path)
        return over <= 0

    def _staged(self) -> Iterator[Path]:
        """Shards and parts of shards, of all stores."""
        for entry in self.path.iterdir():
            if entry.is_symlink() or not entry.is_dir():
                continue
            shards = self._shards_of(entry)
            for parent, _, names in os.walk(entry):
                for path in (Path(parent, name) for name in names):
                    part = _PART.fullmatch(path.name)
                    if (path.with_name(part[1]) if part else path) in shards:
                        yield path

    def _shards_of(self, entry: Path) -> frozenset[Path]:
        """What the store that is staged at `entry` lists; nothing where none is, under its own digest."""
        if entry not in self._shards and may_be_store(entry):
            ours = entry.name.endswith(f"-{_digest(root_of(entry))}")
            store = open_store(entry)
            tables = {entry / array.table_key for array in store.arrays.values()}
            self._shards[entry] = frozenset(
                path for path, _ in store.shard_files() if ours and path not in tables
            )
        return self._shards.get(entry, frozenset())


def _digest(root: bytes) -> str:
    return hashlib.sha256(root).hexdigest()[:16]


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(path: Path) -> int:
    part = _PART.fullmatch(path.name)
    return max(path.lstat().st_size, int(part[2]) if part else 0)


def _unlink_unused(path: Path) -> int:
    """Bytes that are free now; 0 where somebody holds it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return _unlink(path) if _try_lock(descriptor) else 0
    finally:
        os.close(descriptor)


def _unlink_spare(path: Path, descriptor: int) -> int:
    """The same of a file that this process holds."""
    if _try_lock(descriptor):
        return _unlink(path)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # what was tried took it away
    return 0


def _unlink_whole(path: Path) -> int:
    return 0 if _PART.fullmatch(path.name) else _unlink(path)


def _unlink(path: Path) -> int:
    try:
        size = _size(path)
        path.unlink()
    except FileNotFoundError:
        return 0
    return size

"""What is done already: one line a committed region, so that a conversion killed anywhere goes on from there.

    journal.jsonl           of a whole conversion; it holds the lock alone, parts hold it together
    journal-3-of-8.jsonl    of a part, locked by whoever converts it
    journal.lock            held while somebody looks around and begins
    aside-*/                shards that are being made, by processes that may die alone

The first line of each names the plan; a line that was cut off in the middle is ignored, and so is a region whose
file no longer has the size and checksum it was committed with.
"""

import base64
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from crc32c import crc32c

from maelio.converters.moments import Moments
from maelio.converters.plan import Plan
from maelio.converters.region import Done
from maelio.converters.share import Share
from maelio.errors import BadRequest
from maelio.store import Shard

ASIDE = "aside-"  # folders of shards that are being made
_WHOLE = "journal.jsonl"
_ALL = "journal*.jsonl"
_LOCK = "journal.lock"
_READ = 2**22

Key = tuple[str, int]  # the name of an array and the number of a shard
Entry = dict[str, Any]


class Journal:
    """Append-only, safe to use from many threads. `done` are the regions committed by earlier runs."""

    def __init__(self, fd: int, done: dict[Key, Done]) -> None:
        self._fd = fd
        self._lock = Lock()
        self.done = done
        self.committed = len(done)

    def commit(self, done: Done) -> None:
        entry = {
            "array": done.array,
            "shard": done.shard,
            "file": done.file.model_dump(),
            "index": done.index and done.index.model_dump(),
            "moments": [part.to_json() for part in done.moments],
            "chunks": base64.b64encode(done.chunks).decode(),
        }
        with self._lock:
            _append(self._fd, entry)
            self.committed += 1

    def will_replace(self, names: Sequence[str]) -> None:
        """Note where the old store may lie, beside the new one, while the two change places."""
        with self._lock:
            _append(self._fd, {"replaces": list(names)})


@contextmanager
def open_journal(folder: Path, plan: Plan, share: Share | None = None) -> Iterator[Journal]:
    """The journal of `plan` in `folder`, held against other processes while open.

    What is done is read from the journals of all parts; of it, a `share` is told its own regions. A run of the whole
    that ends without any region to keep leaves no folder behind.

    Raises BadRequest: another process is converting here, the whole or the same part; or the folder holds something
        else, or the work of another plan, which only `overwrite` discards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        fd = _begin(folder, plan, share, held)
        journal: Journal | None = None
        try:
            journal = Journal(fd, _resume(folder, plan, _wanted(plan, share)))
            yield journal
        except BaseException:
            if share is None and journal and not journal.committed:
                shutil.rmtree(folder)
            raise


def _begin(folder: Path, plan: Plan, share: Share | None, held: ExitStack) -> int:
    """Take the locks, then make sure that every journal is one of `plan`. Which file descriptor to append to."""
    names = {path.name for path in folder.iterdir()} - {_LOCK}
    if names and _WHOLE not in names:
        raise BadRequest(f"{folder} is in the way: it is not an unfinished conversion; move it")
    with ExitStack() as beginning:
        fcntl.flock(_open(folder / _LOCK, beginning), fcntl.LOCK_EX)
        own = whole = _open(folder / _WHOLE, held)
        _lock(whole, fcntl.LOCK_EX if share is None else fcntl.LOCK_SH, f"{folder}: another process")
        if share is not None:
            own = _open(folder / f"journal-{share.number}-of-{share.of}.jsonl", held)
            _lock(own, fcntl.LOCK_EX, f"{folder}: part {share}: another process")
        if not _is_at(whole, folder / _WHOLE):
            raise BadRequest(f"{folder}: another process has just finished here; look, and run it again")
        if not _holds_only(folder, plan):
            if not plan.options.overwrite:
                raise BadRequest(
                    f"{folder} holds an unfinished conversion of other sources or options; "
                    "repeat those, or discard it with --overwrite"
                )
            _lock(whole, fcntl.LOCK_EX, f"{folder}: another process, of other sources or options,")
            _discard(folder, keep={whole, own})
        for fd in {whole, own}:
            _cut_torn_line(fd)
            if not os.fstat(fd).st_size:
                _append(fd, {"plan": plan.digest})
        if share is not None:
            _lock(whole, fcntl.LOCK_SH, f"{folder}: another process")
        else:
            for left in folder.glob(f"{ASIDE}*"):
                shutil.rmtree(left)
    return own


def _open(path: Path, held: ExitStack, *, create: bool = True) -> int:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0), 0o666)
    held.callback(os.close, fd)
    return fd


def _lock(fd: int, kind: int, who: str) -> None:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadRequest(f"{who} is converting here") from None


def _is_at(fd: int, path: Path) -> bool:
    return path.exists() and os.path.samestat(os.fstat(fd), path.stat())


def _holds_only(folder: Path, plan: Plan) -> bool:
    begun = [entries[0] for path in folder.glob(_ALL) if (entries := _entries(path))]
    return all(first.get("plan") == plan.digest for first in begun)


def _discard(folder: Path, keep: Collection[int]) -> None:
    """Remove what another plan wrote: a reader that goes by names would take it for a part of this store.

    The journals that are kept go last: whoever is killed here leaves the work of the other plan, or nothing.
    """
    kept = [os.fstat(fd) for fd in keep]
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK and not any(os.path.samestat(path.stat(), stat) for stat in kept):
            path.unlink()
    for fd in keep:
        os.ftruncate(fd, 0)


def _wanted(plan: Plan, share: Share | None) -> Collection[Key]:
    if share is None:
        return plan.shards
    return {(region.array.name, region.shard) for region in share.take(plan.regions)}


def _resume(folder: Path, plan: Plan, wanted: Collection[Key]) -> dict[Key, Done]:
    """What was committed of the `wanted` regions, by whatever part, and is still there."""
    found = {
        key: entry
        for path in folder.glob(_ALL)
        for entry in _entries(path)
        if (key := _key(entry)) and key in wanted
    }
    done = [_done(entry) for entry in found.values()]
    pool = ThreadPoolExecutor(plan.options.threads, "maelio-resume")
    try:
        intact = pool.map(partial(_intact, plan, folder), done)
        return {(one.array, one.shard): one for one, right in zip(done, intact, strict=True) if right}
    finally:
        pool.shutdown(cancel_futures=True)


def committed(folder: Path) -> set[Key]:
    """The regions that any journal lists. Their files are not looked at."""
    return {key for path in folder.glob(_ALL) for entry in _entries(path) if (key := _key(entry))}


def has_journal(folder: Path) -> bool:
    return (folder / _WHOLE).exists()


def replaces(folder: Path) -> list[str]:
    """Where the store that `folder` takes the place of may lie, beside it."""
    return [name for entry in _entries(folder / _WHOLE) for name in entry.get("replaces", ())]


@contextmanager
def nobody_else(folder: Path) -> Iterator[bool]:
    """Hold the whole of `folder`. False: some process is at work there."""
    with ExitStack() as held:
        try:
            fd = _open(folder / _WHOLE, held, create=False)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            yield False
        else:
            yield _is_at(fd, folder / _WHOLE)


def close_journal(folder: Path) -> None:
    """Remove the journals, the one that tells of all others last: the conversion is complete."""
    for path in sorted(folder.glob(_ALL), key=lambda path: path.name == _WHOLE):
        (folder / _LOCK).unlink(missing_ok=True)
        path.unlink()


def file_checksum(path: Path) -> Shard:
    """Size and CRC-32C of a file. Raises OSError."""
    checksum, size = 0, 0
    with open(path, "rb", buffering=0) as file:
        while part := file.read(_READ):
            checksum = crc32c(part, checksum)
            size += len(part)
    return Shard(bytes=size, crc32c=f"{checksum:08x}")


def _append(fd: int, entry: Entry) -> None:
    line = (json.dumps(entry) + "\n").encode()
    if os.write(fd, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), _WHOLE)


def _entries(path: Path) -> list[Entry]:
    """Whole lines; somebody may be writing the next one."""
    return [json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _cut_torn_line(fd: int) -> None:
    """It would spoil the next one."""
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        content = file.read()
    os.ftruncate(fd, content.rfind(b"\n") + 1)


def _key(entry: Entry) -> Key | None:
    return (entry["array"], entry["shard"]) if "array" in entry else None


def _done(entry: Entry) -> Done:
    return Done(
        array=entry["array"],
        shard=entry["shard"],
        file=Shard.model_validate(entry["file"]),
        index=Shard.model_validate(entry["index"]) if entry["index"] else None,
        moments=tuple(Moments.from_json(part) for part in entry["moments"]),
        chunks=base64.b64decode(entry["chunks"]),
    )


def _intact(plan: Plan, folder: Path, done: Done) -> bool:
    """The files of a region are what they were when it was committed."""
    array = next(array for array in plan.arrays if array.name == done.array)
    files = {array.shard_key(done.shard): done.file}
    if done.index and (key := array.index_key(done.shard)):
        files[key] = done.index
    return all(_is(folder / key, wanted) for key, wanted in files.items())


def _is(path: Path, wanted: Shard) -> bool:
    return path.exists() and file_checksum(path) == wanted

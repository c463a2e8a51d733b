"""What is done already: one line a committed region, so that a conversion killed anywhere goes on from there.

The first line names the plan; a line that was cut off in the middle is ignored, and so is a region whose
file no longer has the size and checksum it was committed with.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import google_crc32c

from maelio.converters.moments import Moments
from maelio.converters.plan import Plan
from maelio.converters.region import Done
from maelio.errors import BadRequest
from maelio.store import Shard

_NAME = "journal.jsonl"
_READ = 2**22


class Journal:
    """Append-only, safe to use from many threads. `done` are the regions committed by earlier runs."""

    def __init__(self, fd: int, done: dict[tuple[str, int], Done]) -> None:
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
        }
        with self._lock:
            _append(self._fd, entry)
            self.committed += 1


@contextmanager
def open_journal(folder: Path, plan: Plan) -> Iterator[Journal]:
    """The journal of `plan` in `folder`, held against other processes while open.

    A run that ends without any region to keep leaves no folder behind.

    Raises BadRequest: another process is converting here; or the folder holds something else, or the work
        of another plan, which only `overwrite` discards.
    """
    if not (folder / _NAME).exists() and any(folder.iterdir()):
        raise BadRequest(f"{folder} is in the way: it is not an unfinished conversion; move it")
    fd = os.open(folder / _NAME, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o666)
    journal: Journal | None = None
    try:
        _lock(fd, folder)
        journal = Journal(fd, _resume(fd, folder, plan))
        yield journal
    except BaseException:
        if journal and not journal.committed:
            shutil.rmtree(folder)
        raise
    finally:
        os.close(fd)


def _lock(fd: int, folder: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadRequest(f"{folder}: another process is converting here") from None


def _resume(fd: int, folder: Path, plan: Plan) -> dict[tuple[str, int], Done]:
    entries = list(_entries(fd))
    if entries and entries[0].get("plan") == plan.digest:
        return {(done.array, done.shard): done for done in _intact(entries[1:], plan, folder)}
    if entries and not plan.options.overwrite:
        raise BadRequest(
            f"{folder} holds an unfinished conversion of other sources or options; "
            "repeat those, or discard it with --overwrite"
        )
    os.ftruncate(fd, 0)
    _append(fd, {"plan": plan.digest})
    _clear(folder)
    return {}


def _clear(folder: Path) -> None:
    """Remove what another plan wrote: a reader that goes by names would take it for a part of this store."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _NAME:
            path.unlink()


def close_journal(folder: Path) -> None:
    """Remove the journal: the conversion is complete."""
    (folder / _NAME).unlink()


def file_checksum(path: Path) -> Shard:
    """Size and CRC-32C of a file. Raises OSError."""
    checksum, size = 0, 0
    with open(path, "rb", buffering=0) as file:
        while part := file.read(_READ):
            checksum = google_crc32c.extend(checksum, part)
            size += len(part)
    return Shard(bytes=size, crc32c=f"{checksum:08x}")


def _append(fd: int, entry: dict[str, object]) -> None:
    os.write(fd, (json.dumps(entry) + "\n").encode())


def _entries(fd: int) -> Iterator[dict[str, object]]:
    with open(os.dup(fd), "rb") as file:
        file.seek(0)
        for line in file:
            if not line.endswith(b"\n"):
                os.ftruncate(fd, file.tell() - len(line))  # a torn line would spoil the next one
                return
            yield json.loads(line)


def _intact(entries: list[dict[str, object]], plan: Plan, folder: Path) -> Iterator[Done]:
    arrays = {array.name: array for array in plan.arrays}
    for entry in entries:
        done = Done(
            array=str(entry["array"]),
            shard=int(str(entry["shard"])),
            file=Shard.model_validate(entry["file"]),
            index=Shard.model_validate(entry["index"]) if entry["index"] else None,
            moments=tuple(Moments.from_json(part) for part in entry["moments"]),  # type: ignore[attr-defined]
        )
        array = arrays[done.array]
        files = {array.shard_key(done.shard): done.file}
        if done.index and (key := array.index_key(done.shard)):
            files[key] = done.index
        if all(_is(folder / key, wanted) for key, wanted in files.items()):
            yield done


def _is(path: Path, wanted: Shard) -> bool:
    return path.exists() and file_checksum(path) == wanted

"""One cache folder: where things lie in it, who may write them, and what is behind a URL.

    files/objects/DIGEST.nc     the bytes, never changed; named by `parts.digest_of`, and the URL's suffix
    files/checksums/DIGEST      the SHA-256 of every part, 32 bytes each
    files/refs/KEY.json         of a URL by `urls.key_of`: its object, and what the server said
    files/partial/KEY           a download on its way, and KEY.log the parts of it that are there
    files/leases/HOST-PID-...   the objects that a process holds
    files/locks/abc             one of 4096 groups of URLs; `gate` stands between those who take and those who evict

Whoever may write the folder may write what is in it: everything has the folder's own permissions, whatever the umask.
"""

import json
import logging
import os
import stat
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import get_ident

from maelio.cache.locks import locked
from maelio.cache.parts import bounds, checksum, digest_of, part_count, split

log = logging.getLogger(__name__)

_FOLDERS = ("objects", "checksums", "refs", "partial", "leases", "locks")


@dataclass(frozen=True, slots=True)
class Revision:
    """What a server says about a file, None where it says nothing."""

    bytes: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """What a range may be asked for by, so that it is of this revision or none. Source: RFC 9110, section 13.1.5."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified

    def may_be(self, answer: "Revision") -> bool:
        """Whether an answer to If-Range is of this revision: it need not repeat what was known. Source: RFC 9110, 15.3.7."""
        return answer.bytes == self.bytes and all(
            said in (None, known)
            for said, known in ((answer.etag, self.etag), (answer.modified, self.modified))
        )


@dataclass(frozen=True, slots=True)
class Ref:
    """What a URL meant when it was fetched. `changed_ns`: when its object was last written."""

    url: str
    name: str
    revision: Revision
    bytes: int
    changed_ns: int
    fetched: str

    @property
    def digest(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Tier:
    """A cache in `folder`. `fixed`: a mirror, which is only read."""

    folder: Path
    fixed: bool = False

    @property
    def root(self) -> Path:
        return self.folder / "files"

    @cached_property
    def modes(self) -> tuple[int, int]:
        """Permissions of files and of folders: those of the cache's own folder, its group inherited."""
        mode = stat.S_IMODE(self.folder.stat().st_mode)
        return mode & 0o666, mode & 0o2777

    @property
    def gate(self) -> Path:
        return self.root / "locks" / "gate"

    def entered(self, *, shared: bool) -> AbstractContextManager[bool]:
        """Shared by those who take an object, alone for who evicts: what is taken is leased before it can go."""
        return locked(self.gate, self.modes[0], shared=shared)

    def object(self, name: str) -> Path:
        return self.root / "objects" / name

    def checksums(self, name: str) -> Path:
        return self.root / "checksums" / name.partition(".")[0]

    def ref(self, key: str) -> Path:
        return self.root / "refs" / f"{key}.json"

    def lock(self, key: str) -> Path:
        return self.root / "locks" / key[:3]

    def prepare(self) -> None:
        """Make what is not there. Raises OSError: it may not be made."""
        self._make(self.root)
        for name in _FOLDERS:
            self._make(self.root / name)

    def _make(self, folder: Path) -> None:
        """A folder appears with its permissions, so that nobody finds it closed."""
        if folder.is_dir():
            return
        made = folder.with_name(f".{folder.name}.{os.getpid()}.{time.monotonic_ns()}")
        made.mkdir()
        made.chmod(self.modes[1])
        try:
            made.rename(folder)
        except OSError:
            made.rmdir()
            if not folder.is_dir():
                raise

    def read_ref(self, key: str) -> Ref | None:
        """What is noted about a URL, whether its object is there or not; None also where the note is damaged."""
        try:
            found = json.loads(self.ref(key).read_bytes())
            return Ref(**{**found, "revision": Revision(**found["revision"])})
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s is damaged and not used: %s", self.ref(key), error)
            return None

    def write_ref(self, key: str, ref: Ref) -> None:
        self.write(self.ref(key), json.dumps(asdict(ref), indent=1).encode())

    def write(self, path: Path, content: bytes) -> None:
        """Whole or not at all, but perhaps not on the disk yet: what a power cut leaves of it is found damaged."""
        made = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
        made.write_bytes(content)
        made.chmod(self.modes[0])
        made.replace(path)

    def find(self, key: str) -> Ref | None:
        """What is behind a URL, if it is here and whole: of its size, and not written since.

        An object that was written since, or copied here without its times, is read and compared with its checksums.
        """
        ref = self.read_ref(key)
        if ref is None:
            return None
        path = self.object(ref.name)
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        if found.st_size != ref.bytes:
            log.warning("%s has %d bytes, wanted %d: it is not used", path, found.st_size, ref.bytes)
            return None
        if found.st_mtime_ns != ref.changed_ns:
            if damaged := self.damages(ref.name):
                log.warning("%s is damaged in %d part(s): it is not used", path, len(damaged))
                return None
            if self.fixed:
                log.warning(
                    "%s was copied without its time, and is read whole at every use: cp -a keeps it", path
                )
            else:
                try:
                    self.write_ref(key, replace(ref, changed_ns=found.st_mtime_ns))
                except OSError:  # somebody else's to write: it is read again next time
                    log.info("%s cannot be written", self.ref(key))
        return ref

    def refs(self) -> list[tuple[str, Ref, float]]:
        """Of every URL that is noted: its key, what it means, and when it was last used, in seconds since 1970."""
        try:
            entries = sorted(os.scandir(self.root / "refs"), key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        keys = [entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json")]
        return [
            (key, ref, self.ref(key).stat().st_mtime)
            for key in keys
            if (ref := self.read_ref(key)) is not None
        ]

    def objects(self) -> dict[str, os.stat_result]:
        """All objects by name, also those that no URL means any more."""
        try:
            return {entry.name: entry.stat() for entry in os.scandir(self.root / "objects")}
        except FileNotFoundError:
            return {}

    def used(self, key: str) -> None:
        """Note that somebody used it now; where that may not be noted it is not."""
        try:
            os.utime(self.ref(key))
        except OSError:
            log.debug("the use of %s is not noted", self.ref(key))

    def damages(self, name: str) -> list[int]:
        """The parts of an object that are not what was fetched; all, where its checksums are not there or damaged."""
        path = self.object(name)
        try:
            checksums = self.checksums(name).read_bytes()
        except FileNotFoundError:
            checksums = b""
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            wanted = list(split(checksums))
            if digest_of(wanted) != name.partition(".")[0]:
                return list(range(max(1, part_count(size))))
            longer = range(len(wanted), part_count(size))
            return [
                part
                for part, each in enumerate(wanted)
                if checksum(file.fileno(), *bounds(part, size)) != each
            ] + list(longer)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

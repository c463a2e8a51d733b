"""A download on its way: bytes at their place in the file, and a journal of the parts that are there.

A part counts with its line in the journal, and only while its bytes have the checksum of that line. So a process may be
killed anywhere, and a disk may lose what was not yet written: what is missing is fetched, nothing else.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Self

from maelio.cache.locks import opened
from maelio.cache.parts import PART, bounds, checksum, part_count
from maelio.cache.tier import Revision, Tier


@dataclass(slots=True)
class Partial:
    """Held by who has the lock of its URL. `revision`: whose bytes these are; None before anything came."""

    path: Path
    _data: int
    _log: int
    revision: Revision | None = None
    checksums: dict[int, bytes] = field(default_factory=dict)
    _writing: Lock = field(default_factory=Lock)

    @classmethod
    def open(cls, tier: Tier, key: str) -> Self:
        """What is left of an earlier attempt, whoever made it, or nothing yet.

        Another user's that may not be written stays where it is, and one's own is begun. Raises OSError.
        """
        path, mode = tier.root / "partial" / key, tier.modes[0]
        try:
            data = opened(path, mode)
        except PermissionError:
            path = path.with_name(f"{key}-{os.getuid()}")
            data = opened(path, mode)
        try:
            partial = cls(path, data, opened(path.with_name(f"{path.name}.log"), mode))
        except BaseException:
            os.close(data)
            raise
        partial._recall()
        return partial

    def close(self) -> None:
        os.close(self._data)
        os.close(self._log)

    def _recall(self) -> None:
        """Take up the journal as far as its lines and the bytes behind them are whole."""
        text = os.pread(self._log, os.fstat(self._log).st_size, 0)
        try:
            first, *lines = [
                json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")
            ]
            self.revision = Revision(**first)
            noted = {line["part"]: bytes.fromhex(line["sha256"]) for line in lines}
        except (ValueError, TypeError, KeyError):
            return self.restart()
        size = self.revision.bytes
        if (
            size is None or self.revision.validator is None
        ):  # nobody could tell whether the rest belongs to it
            return self.restart()
        self.checksums = {
            part: wanted
            for part, wanted in noted.items()
            if checksum(self._data, *bounds(part, size)) == wanted
        }

    def restart(self, revision: Revision | None = None, reserve: Callable[[], None] = lambda: None) -> None:
        """Forget what is there. With a `revision`, begin to fetch that.

        The file has its full size at once, which promises it those bytes; `reserve` raises where they are not there.
        """
        os.ftruncate(self._log, 0)
        os.ftruncate(self._data, 0)
        self.checksums = {}
        self.revision = None
        if revision is not None:
            os.ftruncate(self._data, revision.bytes or 0)
            try:
                reserve()
            except BaseException:
                os.ftruncate(self._data, 0)
                raise
            self.revision = revision
            self._note(asdict(revision))

    @property
    def missing(self) -> list[int]:
        """Parts that are not there, in order; of a file whose size is known."""
        if self.revision is None or self.revision.bytes is None:
            return []
        return [part for part in range(part_count(self.revision.bytes)) if part not in self.checksums]

    def write(self, part: int, blocks: Iterable[bytes | memoryview]) -> int:
        """Put a part in its place as its blocks come, and note it; returns its bytes.

        Whoever gives the blocks raises where they are too few.
        """
        found, place = hashlib.sha256(), part * PART
        for block in blocks:
            found.update(block)
            view = memoryview(block)
            while view:
                written = os.pwrite(self._data, view, place)
                view, place = view[written:], place + written
        self.checksums[part] = found.digest()
        self._note({"part": part, "sha256": found.hexdigest()})
        return place - part * PART

    def take(self, path: Path, revision: Revision, without: Collection[int]) -> None:
        """Begin with the parts of another file, but for some."""
        self.restart(revision)
        with open(path, "rb", buffering=0) as file:
            for part in set(self.missing) - set(without):
                start, stop = bounds(part, revision.bytes or 0)
                self.write(part, [os.pread(file.fileno(), stop - start, start)])

    def _note(self, entry: dict[str, object]) -> None:
        with self._writing:
            os.pwrite(self._log, json.dumps(entry).encode() + b"\n", os.fstat(self._log).st_size)

    def finish(self, size: int) -> list[bytes]:
        """Its bytes are on the disk, and nobody writes them any more. Returns the checksums of its parts, in order."""
        os.ftruncate(self._data, size)
        with suppress(PermissionError):  # another user began it
            os.fchmod(self._data, 0o444)
        os.fsync(self._data)
        return [self.checksums[part] for part in range(part_count(size))]

    def remove(self) -> None:
        """Nothing of it is left; who published the data has moved them away."""
        self.path.unlink(missing_ok=True)
        self.path.with_name(f"{self.path.name}.log").unlink(missing_ok=True)

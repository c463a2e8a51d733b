"""Shards come ahead of need: whole, in the order in which an epoch needs them, over several connections.

    connections    each fetches one shard after the other, in blocks, to a part of a file; a whole one is checked
    readers        wait for the shards of their batch
    the loop       tells when a batch is delivered: what no later batch needs soon may go

Where the limit would be passed, the shard that is needed last goes, if that is later than the one that comes; else
that one waits. What the oldest batch needs therefore always finds room.
"""

import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from crc32c import crc32c

from maelio.errors import BadData, MaelioError
from maelio.loaders.needs import NEVER, NOTHING, Files, Needs
from maelio.loaders.shardfile import Patience, Stopped, allow_open_files
from maelio.loaders.stagefolder import Busy, Fetching, StageFolder
from maelio.loaders.staging import NETWORK_PAUSE_S, Origin, Staging, persistently

BLOCK_BYTES = 2**23

_POLL_S = 0.1  # for what other processes fetch
_LONG_POLL_S = 1.0  # for room that they leave
_BREATH_S = 0.02
_PATIENCE_S = 5.0  # for what cannot be interrupted
_THREAD = "maelio-stream-stage"


class Stage:
    """The files of a store, staged below `entry`; for one process, and one loop over batches at a time.

    `forget` is called with the number of a file before it may go.
    """

    def __init__(
        self, staging: Staging, files: Files, entry: Path, *, retries: int, forget: Callable[[int], None]
    ) -> None:
        self._origin = Origin(staging.url)
        self._folder = StageFolder(staging.folder, staging.limit)
        allow_open_files(2 * len(files.files))
        self._connections = staging.connections
        self._files = files.files
        self._of_shard = files.of_shard
        self._paths = [entry / file.key for file in files.files]
        self._patience = Patience(retries, NETWORK_PAUSE_S)
        self._forget = forget
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._needs = NOTHING
        self._end = self._now = 0
        self._held: dict[int, int] = {}  # descriptors of the files that are there
        self._coming: dict[int, threading.Thread] = {}
        self._failed: dict[int, Exception] = {}
        self._broken: Exception | None = None
        self._lacks = np.ones(len(self._files), bool)  # neither there, nor coming, nor failed
        self._asked: Counter[int] = Counter()  # readers that wait for a file
        self._scheduler: threading.Thread | None = None
        self._fetched: set[Path] = set()
        if not staging.keep:
            weakref.finalize(self, _discard, self._folder, self._fetched, os.getpid())

    def start(self, needs: Needs, batches: int) -> threading.Event:
        """Fetch what the first `batches` of `needs` need; `stop` takes the event. A loop that is on ends.

        Later needs, those of the next epoch, only tell what had better stay.
        """
        self.stop(self._over)
        with self._changed:
            self._needs, self._end, self._now = needs, batches, 0
            self._failed.clear()
            self._broken = None
            self._lacks[:] = True
            self._over = threading.Event()
            with self._folder.locked():
                for file in np.unique(needs.files).tolist():
                    self._is_there(file)
                self._folder.make_room(0, *self._spare(0, again=True), urgent=False)
                self._let_go_of_gone()
            self._scheduler = threading.Thread(
                target=self._schedule, args=(self._over,), name=_THREAD, daemon=True
            )
            self._scheduler.start()
            return self._over

    def advance(self) -> None:
        """The oldest batch has been delivered."""
        with self._changed:
            self._now += 1
            self._changed.notify_all()

    def stop(self, over: threading.Event) -> None:
        """End what is on its way, and let go of all files. Parts of files stay, and are gone on with."""
        if over is not self._over:  # a loop that was followed by another
            return
        over.set()
        with self._changed:
            self._changed.notify_all()
            threads = [thread for thread in (self._scheduler, *self._coming.values()) if thread is not None]
        # Garbage collection may close a loop in any thread, and one of ours must not wait for its like
        if not threading.current_thread().name.startswith("maelio-stream"):
            for thread in threads:
                thread.join(_PATIENCE_S)
        with self._changed:
            for file in list(self._held):
                self._let_go(file)

    def bring(self, array: str, shard: int, stop: threading.Event) -> None:
        """Wait until the files of a shard are there, whole.

        Raises:
            NotFound, NotPermitted, MaelioError: it cannot be fetched. BadData: it is not what the store lists.
            Stopped: `stop` was set meanwhile.
        """
        for file in self._of_shard(array, shard):
            self._wait(file, stop)

    def _wait(self, file: int, stop: threading.Event) -> None:
        with self._changed:
            if file in self._held and not self._paths[file].exists():
                self._let_go(file)  # another process had more need of its room
            before = self._failed.get(file)  # ahead of need, and perhaps long ago
            if before is not None:
                self._lacks[file] = file not in self._coming
            self._asked[file] += 1
            self._changed.notify_all()
            try:
                while file not in self._held:
                    if stop.is_set() or self._over.is_set():
                        raise Stopped
                    if (failed := self._failed.get(file)) is not before and failed is not None:
                        raise failed
                    if self._broken is not None:
                        raise self._broken
                    self._changed.wait(_POLL_S)
            finally:
                self._asked[file] -= 1

    def _schedule(self, over: threading.Event) -> None:
        try:
            self._begin_all(over)
        except Exception as error:  # noqa: BLE001 - raised where files are waited for
            with self._changed:
                self._broken = _of_disk(error, self._folder.path)
                self._changed.notify_all()

    def _begin_all(self, over: threading.Event) -> None:
        """Begin to fetch a file whenever a connection is free and there is room."""
        while not over.is_set():
            with self._changed:
                outcome = "full"
                if len(self._coming) < self._connections:
                    outcome = self._begin_next(over)
                if outcome != "begun":
                    self._changed.wait(_POLL_S if outcome == "busy" else _LONG_POLL_S)
            if outcome == "full" and not +self._asked:
                over.wait(_BREATH_S)  # room is looked for by a walk through the folder

    def _begin_next(self, over: threading.Event) -> str:
        """Begin with the file that is needed first. `busy`: others fetch what is missing; `idle`: nothing is."""
        outcome = "idle"
        for file in self._missing():
            with self._folder.locked():
                if self._is_there(file):
                    self._changed.notify_all()
                    continue
                begun = self._begin(file)
            match begun:
                case "full":
                    return begun
                case "busy":
                    outcome = begun
                case Fetching():
                    self._lacks[file] = False
                    self._coming[file] = threading.Thread(
                        target=self._connection, args=(file, begun, over), name=_THREAD, daemon=True
                    )
                    self._coming[file].start()
                    return "begun"
        return outcome

    def _missing(self) -> list[int]:
        """The first files that are missing: those that readers wait for, then by need."""
        first, last = np.searchsorted(self._needs.batches, [self._now, self._end])
        later = self._needs.files[first:last]
        wanted = [*(+self._asked), *later[self._lacks[later]].tolist()]
        return list(dict.fromkeys(file for file in wanted if self._lacks[file]))

    def _begin(self, file: int) -> Fetching | Busy:
        urgent = self._asked[file] > 0
        due = self._now if urgent else self._needs.next_use(file, self._now)
        spare, keep = self._spare(due, again=urgent or self._is_soon(due))
        begun = self._folder.begin(self._paths[file], self._files[file].bytes, spare, keep, urgent=urgent)
        self._let_go_of_gone()
        return begun

    def _spare(self, due: int, *, again: bool) -> tuple[dict[Path, int], set[Path]]:
        """Files that are needed after batch `due`, the last one first, with their descriptors; and the others.

        Without `again`, those alone that are not needed any more.
        """
        uses = {file: self._needs.next_use(file, self._now) for file in self._held}
        after = due if again else NEVER - 1
        spare = sorted((file for file, use in uses.items() if use > after), key=lambda file: -uses[file])
        return {self._paths[file]: self._held[file] for file in spare}, {
            self._paths[file] for file, use in uses.items() if use <= after
        }

    def _is_soon(self, due: int) -> bool:
        """Whether a file that is due then is worth another that is needed again: the longer that waits, the
        more files there are to choose from."""
        first, last = np.searchsorted(self._needs.batches, [self._now, due])
        before = np.unique(self._needs.files[first:last]).tolist()
        ahead = sum(self._files[file].bytes for file in before)
        return len(before) <= self._connections or ahead <= (self._folder.limit or 0) // 4

    def _let_go_of_gone(self) -> None:
        for file in [file for file in self._held if not self._paths[file].exists()]:
            self._let_go(file)

    def _is_there(self, file: int) -> bool:
        """Hold the file if it is there. The folder is locked."""
        if file not in self._held:
            descriptor = self._folder.hold(self._paths[file], self._files[file].bytes)
            if descriptor is None:
                return False
            self._held[file] = descriptor
            self._lacks[file] = False
        return True

    def _let_go(self, file: int) -> None:
        self._forget(file)
        os.close(self._held.pop(file))
        self._lacks[file] = True

    def _connection(self, file: int, fetching: Fetching, over: threading.Event) -> None:
        """Fetch one file, whatever comes of it."""
        outcome: int | Exception = Stopped()
        try:
            outcome = self._fetch(file, fetching, over)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            outcome = _of_disk(error, fetching.part)
        finally:
            if not isinstance(outcome, int):
                os.close(fetching.descriptor)
            self._came(file, outcome)

    def _came(self, file: int, outcome: int | Exception) -> None:
        with self._changed:
            del self._coming[file]
            match outcome:
                case int():
                    self._held[file] = outcome
                    self._fetched.add(self._paths[file])
                case Stopped():
                    self._lacks[file] = True
                case _:
                    self._failed[file] = outcome
            self._changed.notify_all()

    def _fetch(self, file: int, fetching: Fetching, over: threading.Event) -> int:
        """Fetch a file, or what is missing of it, and let it appear; again from its beginning where it is wrong.

        Raises BadData: it is wrong again. MaelioError: it cannot be fetched or written. Stopped: it is over.
        """
        stored, checksum = self._files[file], 0
        for _ in range(2):
            done, checksum = _begun(fetching.descriptor)
            while done < stored.bytes:
                if over.is_set():
                    raise Stopped
                block = persistently(
                    partial(self._block, file, done, over), self._patience, over, f" ({stored.what})"
                )
                _write(fetching, block, done)
                checksum, done = crc32c(block, checksum), done + len(block)
            if f"{checksum:08x}" == stored.crc32c:
                return self._folder.finish(fetching)
            os.ftruncate(fetching.descriptor, 0)
        raise BadData(
            f"{self._origin.name(stored.key)} ({stored.what}): its crc32c is {checksum:08x}, "
            f"the store lists {stored.crc32c}: it is damaged, or the store was replaced"
        )

    def _block(self, file: int, start: int, over: threading.Event) -> bytes:
        """The next bytes of a file; all that are left where the server does not know of ranges."""
        stored = self._files[file]
        stop = min(start + BLOCK_BYTES, stored.bytes)
        content = self._origin.read(stored.key, start, stop, over)
        if len(content) == stored.bytes:
            return content[start:]
        if len(content) != stop - start:
            name = self._origin.name(stored.key)
            raise MaelioError(f"{name}: {len(content)} bytes came, wanted {stop - start}")
        return content


def _begun(descriptor: int) -> tuple[int, int]:
    """How much of a file has come, and its checksum."""
    done = checksum = 0
    while block := os.pread(descriptor, BLOCK_BYTES, done):
        checksum, done = crc32c(block, checksum), done + len(block)
    return done, checksum


def _write(fetching: Fetching, block: bytes, offset: int) -> None:
    left = memoryview(block)
    while left:
        done = os.pwrite(fetching.descriptor, left, offset)
        left, offset = left[done:], offset + done


def _of_disk(error: Exception, path: Path) -> Exception:
    """What the disk of the stage raised, in one line."""
    if isinstance(error, MaelioError) or not isinstance(error, OSError):
        return error
    return MaelioError(f"{path} cannot be written: {error.strerror}")


def _discard(folder: StageFolder, fetched: set[Path], process: int) -> None:
    if os.getpid() == process:  # a fork is no end
        folder.remove(fetched)

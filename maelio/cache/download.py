"""One file, in parts over several connections at once; what is there already is not fetched again."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from typing import Self, TypeVar

from maelio.cache.partial import Partial
from maelio.cache.parts import PART, bounds, regroup
from maelio.cache.patience import Patience, Transient
from maelio.cache.remotes import Body, Changed, Remote, Unranged
from maelio.errors import BadData

log = logging.getLogger(__name__)

T = TypeVar("T")


class Stopped(Exception):
    """Somebody else failed, or the user has no more time."""


class Crew:
    """The threads and connections of one fetch: at most `connections` requests on their way, whatever the files."""

    def __init__(self, connections: int, patience_s: float) -> None:
        self.connections = connections
        self.patience_s = patience_s
        self.gate = threading.Semaphore(connections)
        self.threads = ThreadPoolExecutor(connections, thread_name_prefix="maelio-fetch")
        self._stops: list[threading.Event] = []
        self.stopped = threading.Event()

    def stop_event(self) -> threading.Event:
        """Of one file; set with all others where the fetch is stopped."""
        event = threading.Event()
        self._stops.append(event)
        if self.stopped.is_set():
            event.set()
        return event

    def stop(self) -> None:
        self.stopped.set()
        for event in self._stops:
            event.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown(cancel_futures=self.stopped.is_set())


@dataclass(slots=True)
class Download:
    """Of `remote` into `partial`. `reserve` raises where there is no room for it."""

    remote: Remote
    partial: Partial
    crew: Crew
    reserve: Callable[[], None]
    _stop: threading.Event = field(init=False)
    _patience: Patience = field(init=False)

    def run(self) -> int:
        """Fetch what is missing; returns the size of the file.

        Where the server has something else than what came before, or does not keep to ranges, everything is fetched
        again, the last time as one stream.

        Raises:
            NotFound, NotPermitted: the server says so.
            Transient: it failed for as long as it is borne.
            BadData: the file changes faster than it is fetched.
            OSError: the file cannot be written.
        """
        for attempt in (self._in_parts, self._in_parts, self._in_one):
            self._stop = self.crew.stop_event()
            self._patience = Patience(self.crew.patience_s, self._stop.wait)
            try:
                return attempt()
            except Changed as change:
                log.warning("%s; fetching it from the beginning", change)
                self.partial.restart()
        raise BadData(f"{self.remote.url} changes while it is fetched")

    def _in_parts(self) -> int:
        known = self.partial.revision
        if known is None or known.bytes is None:
            try:
                return self._persist(self._begin)
            except Unranged as reason:
                log.info("%s", reason)
                return self._persist(self._whole)
        self.reserve()
        self._settle([self._start(part) for part in self.partial.missing])
        return known.bytes

    def _in_one(self) -> int:
        return self._persist(self._whole)

    def _begin(self) -> int:
        """Ask for the first part, and by what the answer tells for the others."""
        others: list[Future[None]] = []
        with self.crew.gate, self.remote.get((0, PART), None) as body:
            if body.whole:
                return self._stream(body)
            size = body.revision.bytes
            if size is not None and body.revision.validator is not None:
                self.partial.restart(body.revision, self.reserve)
                others = [self._start(part) for part in self.partial.missing if part]
                try:
                    self.partial.write(0, self._watched(body))
                except Transient as failure:
                    log.info("%s", failure)
                except BaseException:
                    self._give_up(others)
                    raise
        if size is None or body.revision.validator is None:  # parts of two revisions could not be told apart
            return self._whole()
        self._settle(others if 0 in self.partial.checksums else [*others, self._start(0)])
        return size

    def _whole(self) -> int:
        with self.crew.gate, self.remote.get(None, None) as body:
            return self._stream(body)

    def _stream(self, body: Body) -> int:
        self.partial.restart(body.revision, self.reserve)
        pieces = enumerate(regroup(self._watched(body)))
        return sum(self.partial.write(part, piece) for part, piece in pieces)

    def _settle(self, futures: list[Future[None]]) -> None:
        """Wait for all. The first failure ends the others, and is raised."""
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        failed = [error for future in done if (error := future.exception())]
        if failed:
            self._give_up(futures)
            raise next((error for error in failed if not isinstance(error, Stopped)), failed[0])

    def _give_up(self, futures: list[Future[None]]) -> None:
        self._stop.set()
        for future in futures:
            future.cancel()
        wait(futures)

    def _start(self, part: int) -> Future[None]:
        return self.crew.threads.submit(self._persist, lambda: self._part(part))

    def _part(self, part: int) -> None:
        known = self.partial.revision
        assert known is not None
        assert known.bytes is not None
        with self.crew.gate, self.remote.get(bounds(part, known.bytes), known) as body:
            if body.whole or not known.may_be(body.revision):
                raise Changed(f"{self.remote.url} is not what it was, or is not given in parts")
            self.partial.write(part, self._watched(body))

    def _persist(self, job: Callable[[], T]) -> T:
        """Do it again where it fails in a way that may pass."""
        for failures in count(1):
            if self._stop.is_set():
                raise Stopped
            try:
                return job()
            except Transient as failure:
                self._patience.bear(failure, failures)
                log.warning("%s; trying again", failure)
        raise AssertionError("unreachable")

    def _watched(self, body: Body) -> Iterator[bytes]:
        for block in body.blocks:
            if self._stop.is_set():
                raise Stopped
            self._patience.progress()
            yield block

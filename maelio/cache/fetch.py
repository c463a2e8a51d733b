"""Files behind URLs, from wherever they are: a mirror, a cache, or their server; one download whoever asks at once."""

import logging
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import requests

from maelio.cache.download import Crew, Download, Stopped
from maelio.cache.leases import Lease
from maelio.cache.locks import awaited, forbidden, refused
from maelio.cache.partial import Partial
from maelio.cache.parts import digest_of
from maelio.cache.patience import Transient
from maelio.cache.remotes import Changed, Other, Remote, Web, session
from maelio.cache.room import Budget, make_room
from maelio.cache.tier import Ref, Revision, Tier, now
from maelio.errors import MaelioError, NotFound, NotPermitted, Offline
from maelio.settings import Settings, load_settings, settings_file
from maelio.urls import key_of, public, suffix_of

log = logging.getLogger(__name__)

T = TypeVar("T")

SHOWN = 3  # missing URLs that a message names; more are in a file
_TOLD_AFTER_S = 10.0

_kept = Lease()
"""What this process took without saying for how long: until it ends."""


def fetch(urls: Sequence[str], *, lease: Lease | None = None) -> list[Path]:
    """The files behind URLs, in order, by the user's settings. What is in a cache is there at once, and is not asked for.

    The files are not to be written. None of them is evicted while `lease` is held, without one until this process
    ends. `file://` and paths are the files themselves.

    Raises:
        Offline: the setting `offline` holds, and some are in no cache.
        NotFound, NotPermitted: a server says so, or no cache may be written.
        BadRequest: a URL is none. BadData: a file changes faster than it is fetched.
        MaelioError: a server is not reached or fails, for longer than `patience_s`; or there is no room.
    """
    return _cache(frozenset(os.environ.items()), _changed_ns(settings_file())).fetch(urls, lease=lease)


@lru_cache(maxsize=4)
def _cache(environment: frozenset[tuple[str, str]], changed_ns: int | None) -> "Cache":
    """By the settings that follow from both: to read them takes longer than to find a file."""
    return Cache.of(load_settings())


def _changed_ns(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


@dataclass(frozen=True, slots=True)
class File:
    """Where the file behind a URL is. `ref`: what was noted when it was fetched; None of a file of this machine.

    `fixed`: it is not ours to ask for again, a mirror's or one of this machine.
    """

    path: Path
    ref: Ref | None = None
    fixed: bool = True


@dataclass(frozen=True)
class Cache:
    """Tiers in the order in which they are looked at; those that are not `fixed` are written to, in that order."""

    tiers: tuple[Tier, ...]
    budget: Budget
    offline: bool = False
    connections: int = 16
    patience_s: float = 300.0
    silence_s: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> "Cache":
        shared = () if settings.shared_cache is None else (Tier(settings.shared_cache),)
        return cls(
            (*(Tier(path, fixed=True) for path in settings.mirrors), *shared, Tier(settings.cache)),
            Budget(settings.cache_limit, settings.cache_spare),
            settings.offline,
            settings.connections,
            settings.patience_s,
            settings.silence_s,
        )

    @property
    def own(self) -> Tier:
        """The user's private one."""
        return self.tiers[-1]

    def fetch(self, urls: Sequence[str], *, lease: Lease | None = None, refresh: bool = False) -> list[Path]:
        """As `fetch` above. With `refresh`, servers are asked whether they still have the same, and what changed is fetched."""
        return [file.path for file in self.files(urls, lease=lease, refresh=refresh)]

    def files(self, urls: Sequence[str], *, lease: Lease | None = None, refresh: bool = False) -> list[File]:
        """As `fetch`, with what servers said about them. What mirrors have is not refreshed."""
        lease = _kept if lease is None else lease
        wanted = {key_of(url): url for url in urls}
        found = {key: file for key, url in wanted.items() if (file := self.here(url, lease))}
        again = {key for key, file in found.items() if refresh and not (self.offline or file.fixed)}
        missing = {key: url for key, url in wanted.items() if key not in found or key in again}
        if missing and self.offline:
            raise self._offline([*missing.values()])
        if missing:
            found |= self._fetch(missing, lease, refresh)
        return [found[key_of(url)] for url in urls]

    def missing(self, urls: Iterable[str]) -> list[str]:
        """Those that are in no cache, in order."""
        with Lease() as lease:
            return [url for url in urls if self.here(url, lease) is None]

    def here(self, url: str, lease: Lease) -> File | None:
        """The file, if one of the caches has it. Raises NotFound: it is one of this machine, and is not there."""
        local, key = _local(url), key_of(url)
        if local is not None:
            if not local.exists():
                raise NotFound(f"{local}: no such file")
            return File(local)
        return next((file for tier in self.tiers if (file := take(tier, key, lease))), None)

    def _offline(self, urls: list[str]) -> Offline:
        shown = [public(url) for url in urls]
        command = shlex.join(["maelio", "cache", "prefetch", *shown])
        if len(shown) > SHOWN:
            path = self.own.folder / "missing.txt"
            with suppress(OSError):  # then they are in the exception only
                self.own.folder.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(f"{url}\n" for url in shown))
            command = shlex.join(["maelio", "cache", "prefetch", f"@{path}"])
        named = ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")
        return Offline(
            f"offline, and {len(shown)} file(s) are in no cache: {named}; where there is a network, run: {command}",
            tuple(shown),
        )

    def _fetch(self, urls: dict[str, str], lease: Lease, refresh: bool) -> dict[str, File]:
        """Several files at once; the first failure ends all, and what came of them stays for the next attempt."""
        with self.fetcher(lease, refresh=refresh) as fetcher:
            return fetcher.all({key: partial(fetcher.fetch, key, url) for key, url in urls.items()})

    @contextmanager
    def fetcher(self, lease: Lease, *, refresh: bool = False) -> Iterator["Fetcher"]:
        with session(self.connections) as web, Crew(self.connections, self.patience_s) as crew:
            yield Fetcher(self, crew, web, lease, refresh)


@dataclass(frozen=True)
class Fetcher:
    """One call of `fetch`: what all its files share."""

    cache: Cache
    crew: Crew
    web: requests.Session
    lease: Lease
    refresh: bool

    def all(self, jobs: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """Several at once; the first failure ends all, and what came of them stays for the next attempt."""
        with ThreadPoolExecutor(self.crew.connections) as threads:
            futures = {key: threads.submit(job) for key, job in jobs.items()}
            try:
                done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
                failures = [error for future in done if (error := future.exception())]
                if failures:
                    raise next((each for each in failures if not isinstance(each, Stopped)), failures[0])
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                self.crew.stop()
                raise
        return {key: future.result() for key, future in futures.items()}

    def fetch(self, key: str, url: str) -> File:
        """Into the first tier that takes it. Raises NotPermitted, MaelioError: none does, and why."""
        refusals: list[OSError] = []
        for tier in self.cache.tiers:
            if tier.fixed:
                continue
            try:
                return self._fetch_into(tier, key, url)
            except MaelioError:
                raise
            except OSError as error:
                if not refused(error):
                    raise
                error.filename = tier.folder
                refusals.append(error)
                log.warning("%s is not used for %s: %s", tier.folder, public(url), error.strerror)
        kind = NotPermitted if all(map(forbidden, refusals)) else MaelioError
        reasons = "; ".join(f"{error.filename}: {error.strerror}" for error in refusals)
        raise kind(f"{public(url)} cannot be kept: {reasons}")

    def _fetch_into(self, tier: Tier, key: str, url: str) -> File:
        if tier is self.cache.own:
            tier.folder.mkdir(parents=True, exist_ok=True)
        tier.prepare()
        with awaited(tier.lock(key), tier.modes[0], partial(self._wait, url)):
            file = take(tier, key, self.lease)  # somebody may have fetched it in the meantime
            if file and not (self.refresh and self._changed(file, url)):
                return file
            self._download(tier, key, url)
            return self._taken(tier, key)

    def renew(self, tier: Tier, key: str, ref: Ref) -> None:
        """Fetch what is damaged of an object: its whole parts are kept where the server still has the same."""
        with awaited(tier.lock(key), tier.modes[0], partial(self._wait, ref.url)):
            part = Partial.open(tier, key)
            try:
                if ref.revision.validator is not None and part.revision is None:
                    part.take(tier.object(ref.name), ref.revision, tier.damages(ref.name))
            finally:
                part.close()
            self._download(tier, key, ref.url)

    def _wait(self, url: str, seconds: float) -> None:
        if self.crew.stopped.is_set():
            raise Stopped
        if _TOLD_AFTER_S <= seconds < _TOLD_AFTER_S + 0.25:
            log.warning("another process is fetching %s: waiting for it", public(url))

    def _taken(self, tier: Tier, key: str) -> File:
        file = take(tier, key, self.lease)
        if file is None:
            raise MaelioError(f"{tier.folder}: {key} was removed the moment it came")
        return file

    def _remote(self, url: str) -> Remote:
        if urlsplit(url).scheme in ("http", "https") and "::" not in url:
            return Web(url, self.web, self.cache.silence_s)
        return Other(url)

    def _changed(self, file: File, url: str) -> bool:
        """Whether the server has something else; no, with a warning, where it does not answer."""
        remote = self._remote(url)
        try:
            with self.crew.gate, remote.get((0, 1), None) as body:
                return file.ref is None or body.revision != file.ref.revision
        except Changed:  # no byte of it can be asked for
            return True
        except Transient as failure:
            log.warning("%s; what is in the cache is used", failure)
            return False

    def _download(self, tier: Tier, key: str, url: str) -> None:
        remote = self._remote(url)
        part = Partial.open(tier, key)
        try:
            size = Download(remote, part, self.crew, lambda: make_room(tier, self.cache.budget)).run()
            revision = part.revision
            assert revision is not None
            publish(tier, key, url, part, revision, size, self.lease)
        except OSError as error:
            if refused(error) and not isinstance(error, MaelioError):
                part.remove()  # the next tier may be on the same disk
            raise
        finally:
            if part.revision is None:  # nothing came
                part.remove()
            part.close()


def publish(
    tier: Tier, key: str, url: str, part: Partial, revision: Revision, size: int, lease: Lease
) -> None:
    """Make a finished download an object, and the URL point to it."""
    checksums = part.finish(size)
    name = f"{digest_of(checksums)}{suffix_of(url)}"
    with tier.entered(shared=True):
        lease.hold(tier, name)
        tier.write(tier.checksums(name), b"".join(checksums))
        os.replace(part.path, tier.object(name))
        changed = tier.object(name).stat().st_mtime_ns
        tier.write_ref(key, Ref(public(url), name, revision, size, changed, now()))
    part.remove()


def take(tier: Tier, key: str, lease: Lease) -> File | None:
    """The object of a URL, leased where the tier may be written; None where it has none, or may not even be read."""
    try:
        if tier.fixed or not tier.ref(key).exists():
            return _leased(tier, key, None)
        try:
            with tier.entered(shared=True):
                return _leased(tier, key, lease)
        except OSError as error:
            if not refused(error):
                raise
            return _leased(tier, key, None)
    except OSError as error:
        if not refused(error):
            raise
        log.warning("%s is not used: %s", tier.folder, error)
        return None


def _leased(tier: Tier, key: str, lease: Lease | None) -> File | None:
    ref = tier.find(key)
    if ref is None:
        return None
    if lease is not None:
        lease.hold(tier, ref.name)
    if not tier.fixed:
        tier.used(key)
    return File(tier.object(ref.name), ref, tier.fixed)


def _local(url: str) -> Path | None:
    """The file that a path or `file://` URL is."""
    parts = urlsplit(url)
    if "::" in url or parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path)) if parts.scheme else Path(url)

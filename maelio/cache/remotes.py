"""What is behind a URL, whole or a range of it: HTTP by requests, all else by fsspec.

Both answer in the same words, and fail in the same two ways: an error of `maelio.errors` is final, `Transient` may pass.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import aiohttp
import requests
import urllib3
from requests.adapters import HTTPAdapter

from maelio.cache.patience import Transient, retry_after_s
from maelio.cache.tier import Revision
from maelio.errors import BadRequest, MaelioError
from maelio.remote import answered, failure, file_system, said, status_of
from maelio.urls import public

CONNECT_S = 10.0

_BLOCK = 2**20
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_ETAGS = ("ETag", "etag", "Content-MD5", "md5Hash", "CRC")
_TIMES = ("LastModified", "Last-Modified", "last_modified", "updated", "mtime", "modified", "created")

Span = tuple[int, int]
"""First byte, and the one behind the last."""


class Changed(Exception):
    """The server has something else now, or does not do as it said: what came before does not count."""


class Unranged(Changed):
    """The server does not give the range that it was asked for."""


@dataclass(frozen=True, slots=True)
class Body:
    """An answer, whose `blocks` come while they are read. `whole`: all of the file, whatever was asked for."""

    revision: Revision
    whole: bool
    blocks: Iterator[bytes]


class Remote(Protocol):
    """One file somewhere else. `url` may be shown."""

    @property
    def url(self) -> str: ...

    def get(self, span: Span | None, known: Revision | None) -> AbstractContextManager[Body]:
        """A range, or all of it. With `known` a range of that revision, or all of another.

        Raises Changed: the answer is no such range. NotFound, NotPermitted, MaelioError: for good. Transient: perhaps.
        """
        ...


def session(connections: int) -> requests.Session:
    """For one fetch: keeps so many connections open. Proxies, `.netrc` and certificates are the environment's."""
    made = requests.Session()
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(pool_connections=connections, pool_maxsize=connections))
    return made


@dataclass(frozen=True, slots=True)
class Web:
    """A file behind HTTP. `silence_s`: a server that sends nothing for so long has failed."""

    address: str
    session: requests.Session
    silence_s: float

    @property
    def url(self) -> str:
        return public(self.address)

    @contextmanager
    def get(self, span: Span | None, known: Revision | None) -> Iterator[Body]:
        headers = {"Accept-Encoding": "identity"}
        if span:
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        if known and known.validator:
            headers["If-Range"] = known.validator
        with self._answer(headers) as answer:
            self._check(answer, span)
            told = answer.headers
            length = told.get("Content-Length")
            size = int(length) if length and length.isdigit() else None
            if answer.status_code == 206 and span:
                found = _RANGE.fullmatch(told.get("Content-Range", ""))
                size = int(found[3]) if found else 0
                stop = min(span[1], size)
                if found is None or (int(found[1]), int(found[2]) + 1) != (span[0], stop):
                    raise Unranged(f"{self.url}: asked for {span}, got {told.get('Content-Range')!r}")
                expected: int | None = stop - span[0]
            else:
                expected = size
            revision = Revision(size, told.get("ETag"), told.get("Last-Modified"))
            yield Body(revision, answer.status_code != 206, self._blocks(answer, expected))

    @contextmanager
    def _answer(self, headers: dict[str, str]) -> Iterator[Any]:
        timeout = (min(CONNECT_S, self.silence_s), self.silence_s)
        try:
            answer = self.session.get(self.address, headers=headers, stream=True, timeout=timeout)
        except requests.exceptions.SSLError as error:
            raise MaelioError(f"{self.url}: the certificate is not accepted: {_root(error)}") from error
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            root = _root(error)
            offline = isinstance(root, urllib3.exceptions.NameResolutionError) or "unreachable" in str(root)
            raise Transient(f"{self.url} cannot be reached: {said(root)}", offline=offline) from error
        except (ValueError, requests.exceptions.RequestException) as error:
            raise BadRequest(f"{self.url} cannot be fetched: {said(error)}") from error
        try:
            yield answer
        finally:
            answer.close()

    def _check(self, answer: Any, span: Span | None) -> None:
        status = answer.status_code
        if status in (200, 206):
            return
        if status == 416 and span:
            raise Unranged(f"{self.url}: has no bytes {span}")
        failed = answered(self.url, status)
        if status in _PASSING:
            raise Transient(str(failed), retry_after_s(answer.headers.get("Retry-After")))
        raise failed

    def _blocks(self, answer: Any, expected: int | None) -> Iterator[bytes]:
        came = 0
        while True:
            try:
                block = answer.raw.read(_BLOCK)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise Transient(f"{self.url} broke off: {said(_root(error))}") from error
            if not block:
                break
            came += len(block)
            yield block
        if expected not in (None, came):
            raise Transient(f"{self.url} broke off: {came} bytes came, wanted {expected}")


@dataclass(frozen=True, slots=True)
class Other:
    """A file that fsspec reads: S3 and more. Its revision is asked for before every range: fsspec knows no If-Range.

    What lies in something else (`zip://a.nc::https://host/all.zip`) comes whole: to begin in the middle of it may
    mean to read all that is before.
    """

    address: str

    @property
    def url(self) -> str:
        return public(self.address)

    @contextmanager
    def get(self, span: Span | None, known: Revision | None) -> Iterator[Body]:
        with self._failing():
            fs, path = file_system(self.address)
            fs.invalidate_cache()
            revision = revision_of(fs.info(path))
        if known and revision != known:
            raise Changed(f"{self.url} has changed")
        if span is None or revision.bytes is None or "::" in self.address:
            yield Body(revision, True, self._all(fs, path))
            return
        start, stop = span[0], min(span[1], revision.bytes)
        yield Body(revision, False, self._range(fs, path, start, stop))

    def _range(self, fs: Any, path: str, start: int, stop: int) -> Iterator[bytes]:
        if start == stop:
            return
        with self._failing():
            block = fs.cat_file(path, start=start, end=stop)
        if len(block) != stop - start:
            raise Transient(f"{self.url}: {len(block)} bytes came, wanted {stop - start}")
        yield block

    def _all(self, fs: Any, path: str) -> Iterator[bytes]:
        with self._failing(), fs.open(path, "rb") as file:
            while block := file.read(_BLOCK):
                yield block

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except MaelioError:
            raise
        except Exception as error:
            failed = failure(self.address, error)
            if type(failed) is MaelioError and _may_pass(error):
                raise Transient(str(failed)) from error
            raise failed from error


def _may_pass(error: Exception) -> bool:
    """Whether a file system may have failed for this moment alone."""
    status = status_of(error)
    return isinstance(error, OSError | aiohttp.ClientError) if status is None else status in _PASSING


def revision_of(info: Mapping[str, Any]) -> Revision:
    """What fsspec's `info` says, whichever names a file system has for it."""
    size = info.get("size")
    etag = next((info[name] for name in _ETAGS if info.get(name)), None)
    time = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(time, int | float):
        time = datetime.fromtimestamp(time, UTC)
    return Revision(
        None if size is None else int(size),
        None if etag is None else str(etag),
        None if time is None else str(time),
    )


def _root(error: BaseException) -> BaseException:
    """What is behind the errors that libraries wrap around each other."""
    inner = next(
        (each for each in (getattr(error, "reason", None), *error.args) if isinstance(each, BaseException)),
        None,
    )
    return error if inner is None else _root(inner)

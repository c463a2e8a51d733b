"""Processes of their own, perhaps another user's: started by a server that has everything imported, so they begin at once."""

import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from maelio.cache.fetch import Cache
from maelio.cache.leases import Lease

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.maelio.cache.children"])


@contextmanager
def child(job: Callable[..., Any], *arguments: Any, uid: int | None = None) -> Iterator[BaseProcess]:
    """A process that does `job`, killed at the end where it has not ended by itself."""
    process = _CONTEXT.Process(target=_as, args=(uid, job, arguments))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _as(uid: int | None, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.umask(0o077)  # the most unsociable one
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    job(*arguments)


def done(processes: Sequence[BaseProcess], within_s: float = 60.0) -> bool:
    """Whether all ended well."""
    for process in processes:
        process.join(within_s)
    return all(process.exitcode == 0 for process in processes)


def result(job: Callable[..., Any], *arguments: Any, uid: int | None = None) -> Any:
    """What `job` returns, or raises, in a process of its own."""
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    with child(_tell, theirs, job, arguments, uid=uid):
        theirs.close()
        found = ours.recv()
    if isinstance(found, BaseException):
        raise found
    return found


def _tell(pipe: Connection, job: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        pipe.send(job(*arguments))
    except Exception as error:
        pipe.send(error)
        raise


def fetch(cache: Cache, urls: list[str]) -> list[bytes]:
    return [path.read_bytes() for path in cache.fetch(urls)]


def fetch_to_the_brink(cache: Cache, urls: list[str]) -> None:
    """Killed when all bytes are there, and nothing says so yet."""
    os.replace = lambda *_: os.kill(os.getpid(), 9)
    cache.fetch(urls)


def fetch_in_threads(cache: Cache, urls: list[str], threads: int, seed: int) -> None:
    """Each thread all of them, one by one, in an order of its own."""

    def one(number: int) -> None:
        order = random.Random(seed * threads + number).sample(urls, len(urls))
        for url in order:
            cache.fetch([url])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(threads)))


def hold(cache: Cache, urls: list[str], ready: Path) -> None:
    """Take files, and hold them until killed."""
    with Lease() as lease:
        cache.fetch(urls, lease=lease)
        ready.touch()
        time.sleep(60)

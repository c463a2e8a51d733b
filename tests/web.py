"""A real HTTP server on the loopback interface, of a folder; slow, forbidding or failing where told to."""

import io
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import fsspec


class Web(ThreadingHTTPServer):
    """`fetched` counts GET requests by path. `statuses` are the answers for paths that shall fail.

    A body is sent in blocks of 64 KiB with `pause_s` between them; the next `cut` bodies break off after one byte.
    The next answers are `failures`: a status, and headers. `ranges`: `yes`, `no` (it answers with the whole file), `stale`
    (it does not heed If-Range) or `wrong` (it gives another range than it was asked for). `tagged`: it sends an ETag; `told`: how long a file is.
    Ranges that begin at `held_from` or later wait until `reset`.
    """

    def __init__(self, folder: Path, handler: type["Handler"]) -> None:
        super().__init__(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        self._reset = threading.Event()
        self.reset()

    def reset(self) -> None:
        """No faults, and nothing counted."""
        self.fetched: Counter[str] = Counter()
        self.statuses: dict[str, int] = {}
        self.pause_s = 0.0
        self.cut = 0
        self.failures: list[tuple[int, dict[str, str]]] = []
        self.ranges: Literal["yes", "no", "stale", "wrong"] = "yes"
        self.tagged = True
        self.told = True
        self.held_from: int | None = None
        self._reset.set()
        self._reset = threading.Event()

    def hold(self, start: int) -> None:
        """Answer no range that begins at `start` or later before the next `reset`."""
        if self.held_from is not None and start >= self.held_from:
            self._reset.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was killed


class Handler(SimpleHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.fetched[self.path] += 1
        super().do_GET()

    def send_head(self) -> Any:
        if status := self.server.statuses.get(self.path):
            self.send_error(status)
            return None
        if self.server.failures:
            return self._fail(*self.server.failures.pop(0))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted and path.is_file() and self._gives_ranges():
            return self._send_range(path, int(wanted[1]), int(wanted[2] or sys.maxsize - 1) + 1)
        return super().send_head()

    def _fail(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _gives_ranges(self) -> bool:
        if self.server.ranges == "yes":
            return self.headers.get("If-Range") in (None, self._tag())
        return self.server.ranges != "no"

    def _tag(self) -> str | None:
        path = Path(self.translate_path(self.path))
        return f'"{path.stat().st_mtime_ns:x}"' if self.server.tagged and path.is_file() else None

    def _send_range(self, path: Path, start: int, stop: int) -> Any:
        self.server.hold(start)
        size = path.stat().st_size
        if start >= size:
            self._fail(416, {"Content-Range": f"bytes */{size}"})
            return None
        if self.server.ranges == "wrong":
            start += 1
        with open(path, "rb") as file:
            file.seek(start)
            part = file.read(min(stop, size) - start)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{size}")
        self.send_header("Content-Length", str(len(part)))
        if self.server.tagged and "If-Range" not in self.headers:  # who sends that knows it
            self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
        self.end_headers()
        return io.BytesIO(part)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length" or self.server.told:
            super().send_header(keyword, value)

    def end_headers(self) -> None:
        if tag := self._tag():
            self.send_header("ETag", tag)
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if self.server.cut:
            self.server.cut -= 1
            outputfile.write(source.read(1))
            return
        while block := source.read(2**16):
            outputfile.write(block)
            time.sleep(self.server.pause_s)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class BucketHandler(Handler):
    """Lists keys as S3 does: a stand-in for it that knows ListObjectsV2, HEAD and GET."""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = dict(parse_qsl(asked.query))
        if "list-type" in query:
            self._list(asked.path.strip("/"), query)
        else:
            super().do_GET()

    def send_head(self) -> Any:
        if Path(self.translate_path(self.path)).is_dir():  # a bucket has keys, no folders
            self.send_error(404)
            return None
        return super().send_head()

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        root = Path(self.directory, bucket)
        found = [path for path in sorted(root.rglob("*")) if path.is_file()]
        keys = {path.relative_to(root).as_posix(): path.stat() for path in found}
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        contents, common = [], set()
        for key, stat in keys.items():
            if not key.startswith(prefix):
                continue
            head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            if cut:
                common.add(f"{prefix}{head}{cut}")
                continue
            time = datetime.fromtimestamp(int(stat.st_mtime), UTC).isoformat().replace("+00:00", "Z")
            contents.append(
                f"<Contents><Key>{key}</Key><LastModified>{time}</LastModified><Size>{stat.st_size}</Size>"
                f"<ETag>&quot;{stat.st_mtime_ns:x}&quot;</ETag></Contents>"
            )
        prefixes = "".join(
            f"<CommonPrefixes><Prefix>{each}</Prefix></CommonPrefixes>" for each in sorted(common)
        )
        body = (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<KeyCount>{len(contents) + len(common)}</KeyCount><IsTruncated>false</IsTruncated>"
            f"{''.join(contents)}{prefixes}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve(folder: Path, handler: type[Handler] = Handler) -> Iterator[Web]:
    with Web(folder, handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            if issubclass(handler, BucketHandler):  # fsspec keeps what is connected to this one for the next
                kind = fsspec.get_filesystem_class("s3")
                _forgotten.extend(kind._cache.values())
                kind.clear_instance_cache()


_forgotten: list[Any] = []  # a file system that is collected with its connections open is told as a leak

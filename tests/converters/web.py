"""A real HTTP server on the loopback interface, of a folder; slow, forbidding or failing where told to."""

import io
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Web(ThreadingHTTPServer):
    """`fetched` counts GET requests by path. `statuses` are the answers for paths that shall fail.

    A body is sent in blocks of 64 KiB with `pause_s` between them.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.fetched: Counter[str] = Counter()
        self.statuses: dict[str, int] = {}
        self.pause_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that was killed


class _Handler(SimpleHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        self.server.fetched[self.path] += 1
        super().do_GET()

    def send_head(self) -> Any:
        if status := self.server.statuses.get(self.path):
            self.send_error(status)
            return None
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            return self._send_range(int(wanted[1]), int(wanted[2]) + 1)
        return super().send_head()

    def _send_range(self, start: int, stop: int) -> Any:
        content = Path(self.translate_path(self.path)).read_bytes()
        part = content[start:stop]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", f'"{path.stat().st_mtime_ns:x}"')
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        while block := source.read(2**16):
            outputfile.write(block)
            time.sleep(self.server.pause_s)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[Web]:
    with Web(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

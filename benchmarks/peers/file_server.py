"""A server of files on the loopback interface that limits every connection, as object stores do."""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_BLOCK = 2**18


class _Handler(BaseHTTPRequestHandler):
    """Whole files and single ranges, sent by the kernel: it takes next to no processor time of its own."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: object, folder: Path, rate: float | None) -> None:
        self._folder = folder
        self._rate = rate
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self._folder / Path(self.path.partition("?")[0]).name
        if not path.is_file():
            self.send_error(404)
            return
        with open(path, "rb") as file:
            stat = os.fstat(file.fileno())
            tag = f'"{stat.st_mtime_ns:x}"'
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start, stop = 0, stat.st_size
            if wanted and self.headers.get("If-Range") in (None, tag) and int(wanted[1]) < stat.st_size:
                start, stop = int(wanted[1]), min(int(wanted[2] or stat.st_size) + 1, stat.st_size)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{stat.st_size}")
            else:
                self.send_response(200)
            for name, value in {
                "Content-Length": str(stop - start),
                "Accept-Ranges": "bytes",
                "ETag": tag,
                "Last-Modified": self.date_time_string(int(stat.st_mtime)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self._send(file.fileno(), start, stop)

    def _send(self, file: int, start: int, stop: int) -> None:
        began, place = time.monotonic(), start
        while place < stop:
            place += os.sendfile(self.connection.fileno(), file, place, min(_BLOCK, stop - place))
            if self._rate:
                time.sleep(max(0.0, began + (place - start) / self._rate - time.monotonic()))

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, help="bytes per second and connection")
    given = parser.parse_args(argv)
    handler = partial(_Handler, folder=given.folder, rate=given.rate)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Servers of the tests that have what a dataset's own server has: small stand-ins, under the same paths."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from maelio.plugins.base import Described
from maelio.plugins.standins import WRITERS
from tests.web import Web, serve

SCALE = 1e-6  # of the originals: the least that makes a file


@contextmanager
def served(kind: type[Described], folder: Path, **arguments: Any) -> Iterator[tuple[Any, Web]]:
    """`kind`, whose server is one on the loopback interface that has the files that `arguments` mean."""
    with serve(folder) as server:

        class Near(kind, abstract=True):  # type: ignore[call-arg, misc, valid-type]  # the test chooses a class
            description = replace(kind.description, server=server.url)

        for request in Near.description.requests(arguments):
            path = folder / request.url.removeprefix(f"{server.url}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            WRITERS[kind.description.key](path, request.fields, scale=SCALE)
        yield Near, server

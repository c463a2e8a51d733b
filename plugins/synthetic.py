"""Stand-ins: files of the structure of the originals, written here, for where those cannot be had.

They lie below `synthetic/` in the user's cache, in the tree that CliMetLab reads as a mirror, `url/SCHEME/HOST/PATH`:
with CLIMETLAB_MIRROR pointing there the original plugins read them too.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from maelio.errors import Missing
from maelio.plugins.description import Request

if TYPE_CHECKING:
    from maelio.plugins.standins import Writer


def writer_of(dataset: str) -> "Writer":
    """By the public id. Raises Missing: nothing is known to write it."""
    from maelio.plugins.standins import WRITERS  # eccodes, netCDF4: half a second

    if dataset not in WRITERS:
        raise Missing(f"dataset {dataset!r}: there is no stand-in of it")
    return WRITERS[dataset]


def folder_of(cache: Path, scale: float, seed: int) -> Path:
    return cache / "synthetic" / f"scale-{scale:g}-seed-{seed}"


def place_of(folder: Path, url: str) -> Path:
    """Where CliMetLab's DirectoryMirror looks for a URL; a query, which it does not heed, is none of ours."""
    parts = urlsplit(url)
    return folder.joinpath("url", parts.scheme or "file", parts.netloc, parts.path.lstrip("/"))


def write(
    requests: Iterable[Request], folder: Path, writer: "Writer", *, scale: float, seed: int
) -> tuple[Path, ...]:
    """The files, each made once, whichever processes ask for it at the same time."""
    return tuple(
        _written(place_of(folder, each.url), each, writer, scale=scale, seed=seed) for each in requests
    )


def _written(path: Path, request: Request, writer: "Writer", *, scale: float, seed: int) -> Path:
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            made = path.with_name(f".part-{path.name}")  # writers may look at how it ends
            made.unlink(missing_ok=True)
            writer(made, request.fields, scale=scale, seed=seed)
            made.replace(path)
    return path

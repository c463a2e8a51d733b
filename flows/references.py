"""References between tasks: made where data comes to be, checked where it is used."""

from collections.abc import Sequence
from pathlib import Path

from crc32c import crc32c

from maelio.converters.options import Options
from maelio.errors import BadData, NotFound
from maelio.records import Reference
from maelio.store import Store, open_store

BLOCK = 2**20


def reference_to(path: Path) -> Reference:
    """Raises NotFound: there is no such file."""
    checksum = 0
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                checksum = crc32c(block, checksum)
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    return Reference(uri=str(path), digest=f"crc32c:{checksum:08x}")


def path_of(reference: Reference) -> Path:
    """Raises NotFound, and BadData: the file is not the one that was referred to."""
    _require_same(reference, reference_to(Path(reference.uri)).digest)
    return Path(reference.uri)


def store_of(reference: Reference) -> Store:
    """Raises NotFound, and BadData: the store is not the one that was referred to."""
    store = open_store(reference.uri)
    _require_same(reference, store.digest)
    return store


def kept(target: Path, files: Sequence[Path], options: Options) -> Store | None:
    """The store at `target`, if it was made from these files as they are now, and in this way."""
    try:
        store = open_store(target)
    except (NotFound, BadData):
        return None
    held = [(Path(source.path), source.bytes, source.modified_ns) for source in store.contents.sources]
    now = [(file.absolute(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    same = store.contents.options.items() >= options.recorded().items()
    return store if held == now and same else None


def _require_same(reference: Reference, digest: str) -> None:
    if digest != reference.digest:
        raise BadData(f"{reference.uri} has changed: {digest}, wanted {reference.digest}")

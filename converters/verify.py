"""Is a store still what was written? Every shard against its size and checksum, every index against its own."""

from dataclasses import dataclass
from pathlib import Path

from maelio.converters.journal import file_checksum
from maelio.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Damage:
    """One file that is not what it should be."""

    file: Path
    reason: str


def verify(path: str | Path) -> list[Damage]:
    """Read all shards of a store. Empty where nothing is wrong.

    Raises NotFound, NotPermitted, BadData: the store itself does not open.
    """
    store: Store = open_store(path)
    damages = []
    for file, wanted in store.shard_files():
        try:
            found = file_checksum(file)
        except FileNotFoundError:
            damages.append(Damage(file, "missing"))
            continue
        if found.bytes != wanted.bytes:
            damages.append(Damage(file, f"{found.bytes} bytes, wanted {wanted.bytes}"))
        elif found.crc32c != wanted.crc32c:
            damages.append(Damage(file, f"checksum {found.crc32c}, wanted {wanted.crc32c}"))
    return damages

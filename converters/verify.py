"""Is a store still what was written? Every file against its size and checksum; of a damaged shard, every chunk."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crc32c import crc32c

from maelio.chunktable import ChunkTable, read_table
from maelio.converters.journal import file_checksum
from maelio.errors import BadData
from maelio.store import StackedArray, Store, open_store

_NAMED = 3  # chunks of one shard; of more, their number


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
    shards = {
        store.path / array.shard_key(number): (array, number)
        for array in store.arrays.values()
        for number in range(array.shards)
    }
    tables = {name: _table(store, name) for name in store.arrays}
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
            array, number = shards.get(file, (None, 0))
            table = None if array is None else tables[array.name]
            where = "" if array is None or table is None else f": {_where(array, number, table, file)}"
            damages.append(Damage(file, f"checksum {found.crc32c}, wanted {wanted.crc32c}{where}"))
    return damages


def _table(store: Store, name: str) -> ChunkTable | None:
    """None: there is none, or it is damaged, which is told of the file itself."""
    try:
        return read_table(store, name)
    except BadData:
        return None


def _where(array: StackedArray, shard: int, table: ChunkTable, file: Path) -> str:
    """Where a shard is damaged."""
    names = list(_damaged(array, shard, table, file))
    if not names:
        return "outside its chunks"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{'; '.join(names[:_NAMED])}{more}"


def _damaged(array: StackedArray, shard: int, table: ChunkTable, file: Path) -> Iterator[str]:
    """The chunks of a shard that are not what was written."""
    first = array.rows_of(shard).start // array.rows_per_chunk
    with open(file, "rb") as content:
        for number, (offset, length) in enumerate(table.places[shard].tolist()):
            if offset < 0:
                continue
            content.seek(offset)
            if crc32c(content.read(length)) != table.checksums[shard, number]:
                row = first + number // (array.pieces * array.cuts)
                yield f"{array.chunk_name(row)}, at byte {offset}"

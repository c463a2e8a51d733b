"""One thin layer on climetlab: a dataset that also says where its files are and streams to torch.

climetlab 0.24 is frozen upstream; what maelio needs of it passes through here.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import climetlab
from filelock import FileLock
from pydantic import JsonValue

from maelio.converters.convert import convert
from maelio.converters.locate import paths_of
from maelio.converters.options import Options
from maelio.errors import BadRequest, NotFound
from maelio.settings import load_settings
from maelio.store import FORMAT

if TYPE_CHECKING:
    from maelio.loaders.stream import Stream


class Dataset(climetlab.Dataset):  # type: ignore[misc]  # climetlab ships no types
    """A climetlab dataset with `files()` and `to_torch()`; everything else is climetlab's.

    A subclass hands its own arguments to `super().__init__` by name and sets `self.source`.
    """

    def __init__(self, **arguments: JsonValue) -> None:
        super().__init__()
        self.arguments = arguments

    def files(self) -> tuple[Path, ...]:
        """The files behind the dataset, in order. Raises BadRequest: it is not made of files."""
        files = tuple(Path(path) for path in paths_of(self.source))
        if not files:
            raise BadRequest(f"dataset {self.name!r} is not made of files: it cannot be converted")
        return files

    def to_store(self) -> Path:
        """The converted copy, made on first use below `settings.cache` and again when a file has changed.

        Safe from several threads and processes at once: one converts, the others wait for it. A conversion
        that was killed is taken up where it ended. Raises what `convert` raises.
        """
        settings = load_settings()
        files = self.files()
        stores = settings.cache / "stores"
        target = stores / f"{store_name(self.name, self.arguments, files)}.zarr"
        stores.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not target.exists():  # a store appears under its name when it is whole
                convert(files, target, Options(memory=settings.memory, threads=settings.threads))
        return target

    def to_torch(self, *, batch_size: int, **options: Any) -> "Stream":
        """Stream the converted copy; `options` are those of `maelio.stream`, which see for shapes."""
        from maelio.loaders.stream import stream  # torch: two seconds that to_xarray does not need

        return stream(self.to_store(), batch_size=batch_size, **options)


def store_name(name: str, arguments: dict[str, JsonValue], files: tuple[Path, ...]) -> str:
    """`name-0123456789abcdef`: the same for the same files, another once one of them has changed.

    A file counts as changed when its path, size or modification time is another.
    Raises NotFound: a file is gone.
    """
    try:
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except FileNotFoundError as error:
        raise NotFound(f"{error.filename}: a file of dataset {name!r} is gone") from None
    key = json.dumps([FORMAT, name, arguments, stats], sort_keys=True)
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

"""One thin layer on climetlab: a dataset that also says where its files are and streams to torch.

climetlab 0.24 is frozen upstream; what maelio needs of it passes through here.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from types import new_class
from typing import TYPE_CHECKING, Any, ClassVar, Self

import climetlab
from filelock import FileLock
from pydantic import JsonValue

from maelio.cache.fetch import Cache, fetch
from maelio.cache.leases import Lease
from maelio.converters.convert import convert
from maelio.converters.options import Options
from maelio.errors import BadRequest, MaelioError, NotFound
from maelio.plugins import manifest, mirror, names, synthetic
from maelio.plugins.description import Description, Request
from maelio.plugins.legal import nearest_word
from maelio.plugins.manifest import Entry
from maelio.plugins.netcdf import open_files
from maelio.settings import load_settings
from maelio.store import FORMAT
from maelio.urls import local_name

if TYPE_CHECKING:
    import xarray as xr

    from maelio.loaders.stream import Stream

_CHUNK = 32 * 2**20  # bytes

_open: set[Lease] = set()
"""Of datasets whose files xarray may open at any time: nobody tells when it is done with them."""

names.guard()


class Dataset(climetlab.Dataset):  # type: ignore[misc]  # climetlab ships no types
    """A climetlab dataset with `urls()`, `files()`, `manifest()` and `to_torch()`; everything else is climetlab's.

    A subclass hands its own arguments to `super().__init__` by name and says its `urls()`. Its files stay in the cache
    while the dataset is there, and once xarray has seen them until it is closed (`with`, or `close()`) or the process ends.
    """

    chunks: ClassVar[Mapping[str, int]] = {}
    """How much xarray reads at once unless it is told."""

    def __init__(self, **arguments: JsonValue) -> None:
        super().__init__()
        self.arguments = arguments
        self.cache: Cache | None = None  # where files come from in place of the settings' caches
        self._lease = Lease()
        self._found: Any = None

    @property
    def source(self) -> Any:
        """The files as CliMetLab sees them, fetched when they are first asked for."""
        if self._found is None:
            files = [climetlab.load_source("file", str(path), unix_glob=False) for path in self.files()]
            self._found = files[0] if len(files) == 1 else climetlab.load_source("multi", files)
            self._found.dataset = self
        return self._found

    def urls(self) -> tuple[str, ...]:
        """Where the files are, in order."""
        raise NotImplementedError

    def files(self) -> tuple[Path, ...]:
        """The files behind the dataset, in order, from the cache or fetched into it. Raises what `maelio.cache.fetch` raises."""
        return self._fetch(self.urls())

    def _fetch(self, urls: Sequence[str]) -> tuple[Path, ...]:
        if self.cache is not None:
            return tuple(self.cache.fetch(urls, lease=self._lease))
        return tuple(fetch(urls, lease=self._lease))

    @property
    def key(self) -> str:
        """By which its files are known, whatever the name that they were asked for by."""
        return str(self.name)

    @property
    def stands_in(self) -> bool:
        """Whether its files are others than the original's."""
        return False

    def mirror_key(self) -> str:
        """By which mirrors know it."""
        return name_of_store(self.key, self.arguments, [])

    def copy_name(self, files: Sequence[manifest.Entry]) -> str:
        """What a mirror's converted copy of such files is called."""
        return name_of_store(self.key, self.arguments, [[each.url, each.size, each.digest] for each in files])

    def mirrored(self) -> tuple[Path, mirror.Copy] | None:
        """The converted copy of a mirror, if one of the settings' has it whole and of the same files."""
        mirrors = () if self.cache is not None or self.stands_in else load_settings().mirrors
        return mirror.find(self, mirrors)

    def manifest(self) -> tuple[Entry, ...]:
        """URL, size and digest of each file, in order."""
        return tuple(map(manifest.entry, self.urls(), self.files()))

    def merged(self, files: Sequence[Path], chunks: Any) -> "xr.Dataset":
        """What files of the dataset are together, lazily: what `to_xarray` gives. `chunks` is never None."""
        return open_files(
            files,
            chunks,
        )

    def to_xarray(self, chunks: Any = None) -> "xr.Dataset":
        """As the original gives it, but lazily: values are read and computed when they are used.

        `chunks` is xarray's, {"time": 1} for instance; without it they are those of the files, or a whole variable of one.
        Where a mirror has a converted copy that is identical, that is read.
        """
        found = self.mirrored()
        if found is not None and found[1].identical:
            import xarray as xr

            return xr.open_dataset(found[0], engine="maelio", chunks={} if chunks is None else chunks)
        _open.add(self._lease)
        return self.merged(self.files(), self.chunks if chunks is None else chunks)

    def store_name(self) -> str:
        """What a converted copy is called: another once a file, or what is asked for, is another."""
        return name_of_store(self.name, self.arguments, states(self.name, self.files()))

    def convert_to(self, target: Path) -> None:
        """Convert into the store `target`, which is not there yet. Raises what `convert` raises."""
        convert(self.files(), target, self.options())

    def options(self) -> Options:
        """How it is converted."""
        settings = load_settings()
        return Options(memory=settings.memory, threads=settings.threads)

    def to_store(self) -> Path:
        """The converted copy: a mirror's, or made on first use below `settings.cache` and again when a file has changed.

        Safe from several threads and processes at once: one converts, the others wait for it. A conversion
        that was killed is taken up where it ended. Raises what `convert` raises.
        """
        if (found := self.mirrored()) is not None:
            return found[0]
        stores = load_settings().cache / "stores"
        target = stores / f"{self.store_name()}.zarr"
        stores.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not target.exists():  # a store appears under its name when it is whole
                self.convert_to(target)
        return target

    def to_torch(self, *, batch_size: int, **options: Any) -> "Stream":
        """Stream the converted copy; `options` are those of `maelio.stream`, which see for shapes."""
        from maelio.loaders.stream import stream  # torch: two seconds that to_xarray does not need

        return stream(self.to_store(), batch_size=batch_size, **options)

    def close(self) -> None:
        """From now on the files may be evicted from the cache."""
        _open.discard(self._lease)
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Described(Dataset):
    """A dataset that follows from its description; a subclass adds how its files become one, and what derives from them.

    Beside the arguments of the description each takes, by name: `source="synthetic"` for stand-ins in place of the files
    (`"original"` in spite of MAELIO_SYNTHETIC), `scale` and `seed` of those, and the `version` that is meant.
    `twin` is the same class under its name that no other plugin has, `maelio-...` for `maelstrom-...`.
    """

    description: ClassVar[Description]
    twin: ClassVar[type["Described"]]

    def __init_subclass__(
        cls, *, twin_of: type["Described"] | None = None, abstract: bool = False, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if abstract:
            return
        about = cls.description
        cls.name = about.id
        cls.home_page, cls.licence, cls.citation = about.home_page, about.licence, about.citation
        cls.terms_of_use, cls.documentation = about.terms_of_use, about.about
        cls.chunks = about.chunks
        cls.__signature__ = about.signature
        if twin_of is None:
            body = {
                "description": about.named(about.id.replace("maelstrom-", "maelio-")),
                "__doc__": cls.__doc__,
                "__module__": cls.__module__,
                "__qualname__": f"{cls.__qualname__}.twin",
            }
            cls.twin = new_class(cls.__name__, (cls,), {"twin_of": cls}, lambda scope: scope.update(body))

    def __init__(
        self,
        *given: Any,
        source: str | None = None,
        scale: float | None = None,
        seed: int = 0,
        version: str | None = None,
        **named: Any,
    ) -> None:
        about = self.description
        arguments = about.bind(given, named)
        self.requests: tuple[Request, ...] = about.requests(arguments)
        settings = load_settings()
        if source not in (None, "original", "synthetic"):
            near = nearest_word(str(source), ("original", "synthetic"))
            raise BadRequest(
                f"dataset {about.id!r}: source {source!r}: must be original or synthetic"
                + (f", nearest {near}" if near else "")
            )
        if version not in (None, about.version):
            raise BadRequest(f"dataset {about.id!r}: version {version!r}: must be {about.version}")
        self.synthetic = settings.synthetic if source is None else source == "synthetic"
        self.scale = settings.synthetic_scale if scale is None else scale
        self.seed = seed
        if not self.scale > 0:
            raise BadRequest(f"dataset {about.id!r}: scale {scale!r}: must be above 0")
        if about.withheld and not self.synthetic:
            raise NotFound(
                f'dataset {about.id!r}: {about.withheld}; for a stand-in pass source="synthetic" or set MAELIO_SYNTHETIC=1'
            )
        super().__init__(**arguments)

    @property
    def key(self) -> str:
        return self.description.key

    @property
    def stands_in(self) -> bool:
        return self.synthetic

    def urls(self) -> tuple[str, ...]:
        return tuple(each.url for each in self.requests)

    def files(self) -> tuple[Path, ...]:
        """The files, in order: from the cache, or fetched into it, or stand-ins.

        What was fetched is compared with the manifest that was written when it first was.

        Raises:
            BadData: a file is not what it was then.
            Offline, NotFound, NotPermitted, MaelioError: as `maelio.cache.fetch`.
        """
        return self._files(self.requests)

    def manifest(self) -> tuple[Entry, ...]:
        """URL, size and digest of each file, in order: as noted, where they were ever fetched."""
        return self._noted() or super().manifest()

    def _noted(self) -> tuple[Entry, ...] | None:
        return None if self.synthetic else manifest.read(self._manifest(self.urls()))

    def _files(self, requests: Sequence[Request]) -> tuple[Path, ...]:
        urls = [each.url for each in requests]
        if self.synthetic:
            folder = synthetic.folder_of(load_settings().cache, self.scale, self.seed)
            writer = synthetic.writer_of(self.description.key)
            return synthetic.write(requests, folder, writer, scale=self.scale, seed=self.seed)
        paths = self._fetch(urls)
        if all(local_name(url) is None for url in urls):  # the user's own files are the user's to change
            about = {"dataset": self.description.key, "version": self.description.version}
            found = [manifest.entry(url, path) for url, path in zip(urls, paths, strict=True)]
            manifest.check(self._manifest(urls), found, {**about, "arguments": self.arguments})
        return paths

    def _manifest(self, urls: Sequence[str]) -> Path:
        name = manifest.name_of(self.description.key, self.description.version, urls)
        return load_settings().cache / "manifests" / name

    def store_name(self) -> str:
        """By the digests of what was fetched: the same however often the cache had to fetch it."""
        files = None if (noted := self._noted()) else self.files()
        if files is not None and (noted := self._noted()) is None:
            return name_of_store(self.description.key, self.arguments, states(self.name, files))
        content: list[JsonValue] = [[each.url, each.size, each.digest] for each in noted or ()]
        return name_of_store(self.description.key, self.arguments, content)

    def options(self) -> Options:
        """Between the dates that were asked for there may be others. Raises BadRequest: it has nothing to draw samples from."""
        if self.description.samples is None:
            raise BadRequest(f"dataset {self.name!r}: has no samples, it cannot be streamed; use to_xarray()")
        return replace(super().options(), samples=self.description.samples, on={"gap": "allow"})

    def convert_to(self, target: Path) -> None:
        """The files themselves where they are what `to_xarray` gives, else that, by way of a copy that is removed again."""
        if self.description.whole:
            super().convert_to(target)
            return
        between = target.with_suffix(".merged.zarr")
        if not between.exists():  # it appears under its name when it is whole
            made = between.with_suffix(".part")
            rmtree(made, ignore_errors=True)
            self._write(made)
            made.rename(between)
        try:
            convert([between], target, self.options())
        except MaelioError:
            rmtree(between)
            raise
        rmtree(between)

    def _write(self, target: Path) -> None:
        """What `to_xarray` gives as a Zarr group, some samples a chunk."""
        data = self.merged(self.files(), self.chunks)
        *outer, inner = (self.description.samples or "time").split(",")
        row = max(each.dtype.itemsize * each.size // each.sizes.get(inner, 1) for each in data.values())
        for dimension in outer:
            row //= data.sizes[dimension]
        samples = {**dict.fromkeys(outer, 1), inner: max(1, _CHUNK // max(row, 1))}
        chunked = data.chunk({name: samples.get(str(name), -1) for name in data.dims})
        for each in chunked.variables.values():
            each.encoding.clear()  # of NetCDF
        texts = {name: each.astype(str) for name, each in chunked.variables.items() if each.dtype == object}
        chunked.assign(texts).to_zarr(target, zarr_format=2, consolidated=False)


def name_of_store(name: str, arguments: Mapping[str, JsonValue], files: Sequence[JsonValue]) -> str:
    """`name-0123456789abcdef`: the same for the same files, another once one of them has changed."""
    key = json.dumps([FORMAT, name, arguments, files], sort_keys=True)
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def states(name: str, files: Sequence[Path]) -> list[JsonValue]:
    """By which a file counts as changed: path, size and modification time. Raises NotFound: a file of dataset `name` is gone."""
    try:
        return [[str(file), (stat := file.stat()).st_size, stat.st_mtime_ns] for file in files]
    except FileNotFoundError as error:
        raise NotFound(f"{error.filename}: a file of dataset {name!r} is gone") from None

"""A mirror of datasets for everyone on a system: the original files, and converted copies that are used in their place.

    SITE/files/...                  a cache that is only read, by MAELIO_MIRRORS=SITE
    SITE/url/https/HOST/PATH        the same files by hard links, as CliMetLab reads them by CLIMETLAB_MIRROR=SITE
    SITE/stores/NAME.zarr           a converted copy, named by the files that it is of
    SITE/datasets/KEY.json          which dataset it is of: arguments, and URL, size and digest of each file; written last

A copy is used where it is of the very files that the dataset has, and still what was written: its files are read and
compared with their checksums once their sizes or times of change are others than noted.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from pydantic import JsonValue

from maelio.cache.fetch import Cache, publish
from maelio.cache.leases import Lease
from maelio.cache.locks import awaited
from maelio.cache.partial import Partial
from maelio.cache.parts import digest_of
from maelio.cache.tier import Tier
from maelio.converters.verify import verify as damages_of
from maelio.errors import BadData, BadRequest, MaelioError
from maelio.files import write_atomically
from maelio.plugins import manifest
from maelio.plugins.manifest import Entry
from maelio.plugins.synthetic import place_of
from maelio.settings import load_settings
from maelio.store import open_store
from maelio.urls import key_of, local_name

if TYPE_CHECKING:
    from maelio.plugins.base import Dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copy:
    """A converted copy, `stores/NAME.zarr`. `digest` is of its root, `rest` of its files beside shards, `state` of all
    sizes and times. `identical`: opened by xarray it is what `to_xarray` gave when it was made.
    """

    name: str
    digest: str
    rest: str
    state: str
    identical: bool


@dataclass(frozen=True, slots=True)
class Note:
    """What a mirror has of a dataset. `key`: by which it is found."""

    key: str
    dataset: str
    arguments: dict[str, JsonValue]
    files: tuple[Entry, ...]
    copy: Copy | None = None


def store_of(folder: Path, name: str) -> Path:
    return folder / "stores" / f"{name}.zarr"


def notes(folder: Path) -> list[Note]:
    """Of all that a mirror has, by name. Raises BadData: a note cannot be read."""
    return [_read(path) for path in sorted((folder / "datasets").glob("*.json"))]


def _read(path: Path) -> Note:
    try:
        found = json.loads(path.read_bytes())
        files = tuple(Entry(**each) for each in found.pop("files"))
        copy = found.pop("copy")
        return Note(**found, files=files, copy=None if copy is None else Copy(**copy))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadData(f"{path} is no note of a mirror: {error}") from error


def find(dataset: "Dataset", folders: Sequence[Path]) -> tuple[Path, Copy] | None:
    """The first copy of it that may be used, and where. Of each that may not, a warning says why.

    Raises what `Dataset.files` raises, where a mirror has a copy.
    """
    key = dataset.mirror_key()
    for folder in folders:
        try:
            note = _read(folder / "datasets" / f"{key}.json")
        except FileNotFoundError:
            continue
        except (BadData, OSError) as error:
            log.warning("%s: the copy of %r is not used: %s", folder, dataset.name, error)
            continue
        if note.copy is None:
            continue
        files, store = dataset.manifest(), store_of(folder, note.copy.name)
        try:
            _check_files(note, files)
            _check_copy(store, note.copy)
        except (MaelioError, OSError) as error:
            log.warning("%s: the copy of %r is not used: %s", folder, dataset.name, error)
            continue
        return store, note.copy
    return None


def _check_files(note: Note, wanted: Sequence[Entry]) -> None:
    if len(note.files) != len(wanted):
        raise BadData(f"it is of {len(note.files)} file(s), wanted {len(wanted)}")
    for mirrored, entry in zip(note.files, wanted, strict=True):
        if mirrored != entry:
            raise BadData(
                f"it is of another {entry.url}: digest {mirrored.digest[:16]}, wanted {entry.digest[:16]}"
            )


@lru_cache(maxsize=64)
def _check_copy(store: Path, copy: Copy) -> None:
    """Raises BadData, NotFound, NotPermitted: it is not what was written. Found whole once, it is for this process."""
    digest = open_store(store).digest
    if digest != copy.digest:
        raise BadData(f"{store}: digest {digest}, wanted {copy.digest}")
    if _state(store) != copy.state:
        _check_content(store, copy)
        log.warning("%s was copied without its times, and is read whole before its first use", store)


def _check_content(store: Path, copy: Copy) -> None:
    for damage in damages_of(store):
        raise BadData(f"{damage.file} is damaged: {damage.reason}")
    if _rest(store) != copy.rest:
        raise BadData(f"{store}: metadata or coordinates are damaged")


def _within(store: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(store.rglob("*")):
        if path.is_file():
            yield path.relative_to(store).as_posix(), path


def _state(store: Path) -> str:
    """Of the names, sizes and times of change of all files."""
    found = [(name, (stat := path.stat()).st_size, stat.st_mtime_ns) for name, path in _within(store)]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _rest(store: Path) -> str:
    """Of the names and contents of files that no checksum in the store is of."""
    listed = {path for path, _ in open_store(store).shard_files()}
    found = hashlib.sha256()
    for name, path in _within(store):
        if path not in listed:
            content = path.read_bytes()
            found.update(f"{name}\n{len(content)}\n".encode() + content)
    return found.hexdigest()


def add(dataset: "Dataset", folder: Path, *, convert: bool) -> Note:
    """Put the files of a dataset into a mirror, from our caches or its server, and with `convert` a copy of it.

    What is there already is kept, if it is still of the same files. `dataset` reads from the mirror afterwards.

    Raises:
        BadRequest: the files are local. Offline, NotFound, NotPermitted, MaelioError: see `Cache.fetch`.
        BadData: a file is not what it was when it was first fetched. All that a conversion raises.
    """
    urls = dataset.urls()
    if any(local_name(url) is not None for url in urls) or dataset.stands_in:
        raise BadRequest(
            f"dataset {dataset.name!r}: its files are of this machine, there is nothing to mirror"
        )
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    caches = Cache.of(load_settings())
    tier = Tier(folder)
    with Lease() as lease:
        for url in urls:
            _adopt(caches, tier, url, lease)
        paths = replace(caches, tiers=(tier,)).fetch(urls, lease=lease)
        dataset.cache = replace(caches, tiers=(Tier(folder, fixed=True),))
        dataset.files()  # compares them with what was first fetched
        for url, path in zip(urls, paths, strict=True):
            _link(path, place_of(folder, url))
        key = dataset.mirror_key()
        (folder / "datasets").mkdir(exist_ok=True)
        with FileLock(folder / "datasets" / f".{key}.lock"):
            path = folder / "datasets" / f"{key}.json"
            entries = tuple(map(manifest.entry, urls, paths))
            there = _read(path) if path.exists() else None
            note = Note(key, dataset.key, dict(dataset.arguments), entries)
            if there is not None and there.files == entries:
                note = there
            if convert and note.copy is None:
                note = replace(note, copy=_converted(dataset, folder, dataset.copy_name(entries)))
            if there and there.copy and there.copy != note.copy:
                old = store_of(folder, there.copy.name)
                log.warning("%s is of other files: remove it once nobody has it open", old)
            write_atomically(path, json.dumps(asdict(note), indent=1).encode())
    return note


def _adopt(caches: Cache, tier: Tier, url: str, lease: Lease) -> None:
    """Copy what one of our caches has, summing it again, where the mirror lacks it."""
    key = key_of(url)
    tier.prepare()
    found = None if tier.find(key) else caches.here(url, lease)
    if found is None or found.ref is None or found.ref.revision.bytes is None:
        return
    with awaited(tier.lock(key), tier.modes[0], lambda _: None), closing(Partial.open(tier, key)) as part:
        part.take(found.path, found.ref.revision, ())
        if digest_of(part.checksums[number] for number in sorted(part.checksums)) != found.ref.digest:
            part.remove()
            raise BadData(f"{found.path} is damaged: run maelio cache repair")
        publish(tier, key, url, part, found.ref.revision, found.ref.bytes, lease)


def _link(file: Path, place: Path) -> None:
    """A hard link at `place`, in place of another file; a copy where the file system has none."""
    if place.exists() and place.samefile(file):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    made = place.with_name(f".{place.name}.{os.getpid()}")
    made.unlink(missing_ok=True)
    try:
        os.link(file, made)
    except OSError:
        shutil.copy2(file, made)
    made.replace(place)


def _converted(dataset: "Dataset", folder: Path, name: str) -> Copy:
    import xarray as xr

    store = store_of(folder, name)
    store.parent.mkdir(exist_ok=True)
    if not store.exists():
        dataset.convert_to(store)
    with xr.open_dataset(store, engine="maelio", chunks={}) as copy, dataset.to_xarray() as original:
        identical = copy.identical(original)
    if not identical:
        log.warning("%s streams, but to_xarray gives more than it holds: that reads the files", store)
    return Copy(name, open_store(store).digest, _rest(store), _state(store), identical)


def damages(folder: Path, note: Note) -> Iterator[str]:
    """Read the copy, and look at the tree; one line for all that is not what was written. Files are `cache.health`'s."""
    for entry in note.files:
        place = place_of(folder, entry.url)
        if not place.exists() or place.stat().st_size != entry.size:
            yield f"{place}: missing, or not of {entry.size} bytes"
    if note.copy is not None:
        store = store_of(folder, note.copy.name)
        try:
            if (digest := open_store(store).digest) != note.copy.digest:
                raise BadData(f"{store}: digest {digest}, wanted {note.copy.digest}")
            _check_content(store, note.copy)
        except MaelioError as error:
            yield str(error)


def export(folder: Path, target: Path) -> int:
    """Put all files into `target` as the tree that CliMetLab reads, by links where they may be; returns their number."""
    cache = Cache((Tier(folder, fixed=True),), Cache.of(load_settings()).budget, offline=True)
    urls = sorted({entry.url for note in notes(folder) for entry in note.files})
    with Lease() as lease:
        for url, path in zip(urls, cache.fetch(urls, lease=lease), strict=True):
            _link(path, place_of(target, url))
    return len(urls)

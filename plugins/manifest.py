"""Which bytes a dataset is: URL, size and digest of each file, noted when they were first fetched and checked ever after."""

import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from threading import get_ident

from pydantic import JsonValue

from maelio.cache.locks import refused
from maelio.cache.parts import bounds, checksum, digest_of, part_count
from maelio.errors import BadData
from maelio.urls import local_name, public

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """`digest`: the SHA-256 of the SHA-256 of every 8 MiB, as in the cache. `url` without secrets."""

    url: str
    size: int
    digest: str


def entry(url: str, path: Path) -> Entry:
    """Of a file that the cache gave, whose name there is its digest; a local file is read."""
    size = path.stat().st_size
    if local_name(url) is None:
        return Entry(public(url), size, path.name.partition(".")[0])
    with open(path, "rb", buffering=0) as file:
        parts = [checksum(file.fileno(), *bounds(part, size)) for part in range(part_count(size))]
    return Entry(public(url), size, digest_of(parts))


def name_of(dataset: str, version: str, urls: Sequence[str]) -> str:
    """`dataset-version-0123456789abcdef.json`: one for each set of files, whatever arguments meant it."""
    key = json.dumps([dataset, version, list(map(public, urls))])
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", f"{dataset}-{version}")
    return f"{readable}-{sha256(key.encode()).hexdigest()[:16]}.json"


def read(path: Path) -> tuple[Entry, ...] | None:
    """What is noted; None where nothing is. Raises BadData: it cannot be read."""
    try:
        return tuple(Entry(**each) for each in json.loads(path.read_bytes())["files"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise BadData(
            f"{path}: is no manifest ({error}); remove it, and what is fetched next holds"
        ) from error


def check(path: Path, found: Sequence[Entry], about: dict[str, JsonValue]) -> None:
    """Note what was found, under what it is `about`; compare it with what was noted before.

    Where nothing may be written nothing is noted, and a warning says so. Safe from several processes at once.
    Raises BadData: a file is another than it was; one line names it.
    """
    if read(path) is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_first(path, {**about, "files": [asdict(each) for each in found]})
        except OSError as error:
            if not refused(error):
                raise
            log.warning(
                "%s cannot be written (%s): these files are not checked next time", path, error.strerror
            )
            return
    for was, now in zip(read(path) or found, found, strict=True):
        if was != now:
            raise BadData(
                f"{now.url}: {now.size} bytes with digest {now.digest[:16]}, wanted {was.size} bytes with digest "
                f"{was.digest[:16]} as when it was first fetched; remove {path} if the new ones are meant"
            )


def _write_first(path: Path, document: dict[str, JsonValue]) -> None:
    """Unless somebody was faster."""
    made = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
    made.write_text(json.dumps(document, indent=1))
    try:
        os.link(made, path)
    except FileExistsError:
        log.info("%s was written by somebody else", path)
    finally:
        made.unlink()

"""What a user names as sources, one by one: files, patterns, URLs, and what CliMetLab made."""

import glob
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import xarray as xr

from maelio.errors import BadRequest, NotFound
from maelio.urls import local_name

log = logging.getLogger(__name__)

_CLIMETLAB = "climetlab:"


@dataclass(frozen=True, slots=True)
class Url:
    """What fsspec opens, perhaps a pattern, perhaps one in another: `zip://*.nc::https://host/all.zip`."""

    text: str

    def __str__(self) -> str:
        return self.text


def named(asked: object) -> list[Path | Url]:
    """Every file, folder and URL that is meant, in order; files that a pattern means are sorted by name.

    `asked` is a path, a pattern, a URL, `climetlab:NAME?key=value`, a source or dataset of CliMetLab, or several of
    those. A file is taken by its name before that is read as a pattern or URL.

    Raises:
        NotFound: no file matches a pattern; there is no such dataset.
        BadRequest: nothing was named, or something else was.
    """
    found = list(_named(asked))
    if not found:
        raise BadRequest("no source files")
    return found


def _named(asked: object) -> Iterator[Path | Url]:
    match asked:
        case _ if _is_climetlab(asked):  # some of which are path-like too
            yield from map(Path, _files_of(asked))
        case Url():
            yield asked
        case str() | PathLike():
            yield from _by_name(os.fspath(asked))
        case xr.Dataset() | xr.DataArray() | xr.DataTree():
            raise BadRequest(
                f"an xarray {type(asked).__name__} in memory cannot be converted, an interrupted conversion could not "
                "go on; write it with to_zarr or to_netcdf and convert that"
            )
        case Sequence() | Iterator():
            for each in asked:
                yield from _named(each)
        case _:
            raise BadRequest(
                f"{type(asked).__module__}.{type(asked).__qualname__} cannot be converted; wanted paths, URLs, or a "
                "source or dataset of CliMetLab"
            )


def _by_name(text: str) -> Iterator[Path | Url]:
    if Path(text).exists():
        yield Path(text)
    elif text.startswith(_CLIMETLAB):
        yield from map(Path, _files_of(_load(text.removeprefix(_CLIMETLAB))))
    elif (local := local_name(text)) is None:
        yield Url(text)
    elif local != text:
        yield from _by_name(local)
    elif glob.has_magic(text):
        matching = sorted(glob.glob(text, recursive=True))
        if not matching:
            raise NotFound(f"{text}: no file matches")
        yield from map(Path, matching)
    else:
        yield Path(text)


def paths_of(source: Any) -> Iterator[str]:
    """The files behind a source, reader or dataset of CliMetLab 0.24, whichever of them it is made of.

    A selection of fields has none: its files hold more than was selected.
    """
    parts = [*getattr(source, "sources", ()), *getattr(source, "indexes", ())]
    for part in parts:
        yield from paths_of(part)
    path = getattr(source, "path", None)
    if parts:
        return
    match path:
        case str():
            if not path.startswith("<"):  # as in "<multi>"
                yield path
        case list() | tuple():
            yield from path
        case _ if (inner := getattr(source, "source", None)) is not None:
            yield from paths_of(inner)


def _is_climetlab(asked: object) -> bool:
    """A source, reader or dataset; not a single field, whose file holds other fields too."""
    classes = {
        kind.__name__ for kind in type(asked).__mro__ if kind.__module__.partition(".")[0] == "climetlab"
    }
    return bool(classes & {"Source", "Reader", "Dataset"})


def _files_of(source: Any) -> list[str]:
    files = list(paths_of(source))
    if not files:
        raise BadRequest(
            f"CliMetLab's {type(source).__qualname__} is not made of whole files: it cannot be converted"
        )
    if getattr(source, "merger", None) is not None:
        log.warning("the merger of CliMetLab's %s is not applied", type(source).__qualname__)
    return files


def _load(text: str) -> Any:
    """`NAME?key=value&key=value`, loaded by CliMetLab from what is installed: its catalogue in the net is not asked."""
    import climetlab
    from climetlab.core.settings import SETTINGS

    name, _, query = text.partition("?")
    with SETTINGS.temporary("datasets-catalogs-urls", []):
        try:
            return climetlab.load_dataset(name, **dict(parse_qsl(query)))
        except NameError as error:
            raise NotFound(f"{_CLIMETLAB}{text}: CliMetLab knows no such dataset: {error}") from error
        except (TypeError, ValueError) as error:
            raise BadRequest(f"{_CLIMETLAB}{text}: {error}") from error

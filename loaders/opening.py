"""What a stream is made of, by what stands at a path: a store, tar files, or what a conversion would read."""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import maelio
from maelio.errors import BadRequest, NotFound
from maelio.loaders.tars import open_tars
from maelio.store import Store, is_store, open_store

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def opened(asked: str | Path | Sequence[str | Path], samples: str | None = None) -> Store:
    """A store; or a view of what is none, as one.

    Names that end with ".tar" are read by `open_tars`; a pattern may have braces, as shells know them. Whatever
    else is no store is read by `maelio.in_place`, with its `samples`.

    Raises: as those do; BadRequest: `samples` of what has its own.
    """
    several = [asked] if isinstance(asked, str | Path) else list(asked)
    names = [name for each in several for name in ([str(each)] if Path(each).exists() else expand(str(each)))]
    tars = [name.endswith(".tar") for name in names]
    if any(tars):
        if not all(tars):
            raise BadRequest(f"{names[tars.index(False)]} beside tar files; wanted one kind")
        _refuse(samples, "a member's key makes a sample of tar files")
        return open_tars([path for name in names for path in _matching(name)])
    if len(names) == 1 and _may_be_store(names[0]):
        _refuse(samples, "it was chosen when the store was converted")
        return open_store(names[0])
    return maelio.in_place(names, samples)


def expand(pattern: str) -> Iterator[str]:
    """`{a,b}` and `{08..10}` as shells do it: the first number says how many digits there are."""
    found = _BRACES.search(pattern)
    if found is None:
        yield pattern
        return
    for choice in _choices(found[1]):
        yield from expand(pattern[: found.start()] + choice + pattern[found.end() :])


def _choices(text: str) -> list[str]:
    """Raises BadRequest: there is nothing to choose from."""
    if numbers := _RANGE.fullmatch(text):
        first, last = map(int, numbers.groups())
        step = 1 if first <= last else -1
        return [f"{number:0{len(numbers[1])}d}" for number in range(first, last + step, step)]
    if "," not in text:
        raise BadRequest(f"{{{text}}}: wanted {{first..last}} or {{one,another}}")
    return text.split(",")


def _matching(name: str) -> list[str]:
    if Path(name).exists() or not glob.has_magic(name):
        return [name]
    if found := sorted(glob.glob(name, recursive=True)):
        return found
    raise NotFound(f"{name}: no file matches")


def _may_be_store(name: str) -> bool:
    """Also what is not there: `open_store` says so best."""
    path = Path(name)
    return is_store(path) or not (path.exists() or glob.has_magic(name) or "://" in name)


def _refuse(samples: str | None, why: str) -> None:
    if samples is not None:
        raise BadRequest(f"samples={samples!r}: {why}; leave it out")

"""Names of datasets: a wrong one is told at once, with the one that was probably meant.

CliMetLab asks a catalogue on the network for a name that it does not know, and without network for hours. Once one of our
datasets was loaded, or by `maelio.load_dataset`, names like ours are answered here.
"""

from collections.abc import Callable
from functools import wraps
from importlib.metadata import entry_points
from typing import Any

import climetlab
from climetlab.datasets import DatasetLoader

from maelio.errors import NotFound
from maelio.plugins.legal import nearest_word
from maelio.settings import load_settings

OURS = ("maelstrom-", "maelio-")


def load_dataset(name: str, *arguments: Any, **named: Any) -> Any:
    """`climetlab.load_dataset` that asks nobody on the network about a name like ours. Raises NotFound: there is none of it."""
    guard()
    return climetlab.load_dataset(name, *arguments, **named)


def known() -> tuple[str, ...]:
    """What maelio, or any other package that is installed, calls its datasets."""
    from maelio.plugins.catalogue import CLASSES  # which imports this module

    ours = [name for each in CLASSES for name in (each.name, each.twin.name)]
    installed = [entry.name for entry in entry_points(group="climetlab.datasets")]
    return tuple(dict.fromkeys((*ours, *sorted(installed))))


def unknown(name: str) -> NotFound:
    near = nearest_word(name, known())
    return NotFound(
        f"no dataset {name!r}"
        + (f", nearest {near!r}" if near else "")
        + "; `maelio datasets ls` lists those of maelio"
    )


def guard() -> None:
    """Answer names like ours, and while offline all, in place of CliMetLab's catalogue; for this process, and once."""
    asked = DatasetLoader.load_remote
    if not hasattr(asked, "__wrapped__"):
        DatasetLoader.load_remote = _guarded(asked)


def _guarded(asked: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    @wraps(asked)
    def load_remote(self: Any, name: str) -> Any:
        if name.startswith(OURS) or (
            (near := nearest_word(name, known(), alike=0.8)) and near.startswith(OURS)
        ):
            raise unknown(name)
        return None if load_settings().offline else asked(self, name)

    return load_remote

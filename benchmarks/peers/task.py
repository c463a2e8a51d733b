"""A task of the comparison: a data set, the tools that convert it, and how to see that all of them did."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.errors import BadRequest, InvalidMeasurement

Size = Literal["tiny", "small", "full"]
Block = tuple[str, NDArray[Any]]  # what it is, and its values
ENVIRONMENTS = Path(".venv-peers")
THREADS = 2  # or processes: of every tool
_TOOLS = Path(__file__).parent / "tools"


class Work(Protocol):
    """A data set of some size; its `repr` says which. `bytes` are decoded ones."""

    @property
    def bytes(self) -> int: ...

    def paths(self, folder: Path) -> list[Path]:
        """The sources in order."""

    def write(self, path: Path, number: int) -> None:
        """Write source `number`."""


def make(folder: Path, work: Work) -> list[Path]:
    """Write what is not there yet; returns the sources in order.

    Raises BadRequest: the folder holds another data set.
    """
    label = folder / "what.txt"
    if folder.exists() and (not label.exists() or label.read_text() != repr(work)):
        raise BadRequest(f"{folder} holds something else than {work}; take another folder")
    folder.mkdir(parents=True, exist_ok=True)
    label.write_text(repr(work))
    for number, path in enumerate(work.paths(folder)):
        if not path.exists():
            part = path.with_name(f"{path.name}.part")
            work.write(part, number)
            part.rename(path)
    return work.paths(folder)


@dataclass(frozen=True, slots=True)
class Arm:
    """A script of `tools`, run as `SCRIPT TARGET JSON SOURCE...` with its `arguments`, and how to `read` what it wrote.

    `read` is None for what writes nothing that can be read. `needs`: modules that maelio does not depend on.
    `environment`: the one in `.venv-peers` that runs it, if not maelio's own. `against`: maelio's arm that does the
    same in the same format.
    """

    script: str
    read: Callable[[Path], Iterator[Block]] | None
    arguments: Mapping[str, object] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    environment: str | None = None
    against: str = "maelio"

    def absent(self, environments: Path) -> str | None:
        """What is not installed, and how to get it; None: all is there."""
        return missing(self.environment, self.needs, environments)

    def command(self, environments: Path, target: Path, sources: Sequence[Path]) -> list[str]:
        how = [sys.executable, "-m", f"{__package__}.tools.{self.script}"]
        if self.environment:
            python = environments / self.environment / "bin" / "python"
            how = [str(python), "-P", str(_TOOLS / f"{self.script}.py")]
        arguments = {"threads": THREADS, **self.arguments}
        return [
            *how,
            str(target.absolute()),
            json.dumps(arguments),
            *(str(path.absolute()) for path in sources),
        ]


@dataclass(frozen=True, slots=True)
class Task:
    """`truth` reads the sources without any of the tools, in the blocks and the order in which `Arm.read` does.

    `memory`: the bytes that the tools were told to keep to, where they were.
    """

    work: Work
    truth: Callable[[Sequence[Path]], Iterator[Block]]
    arms: Mapping[str, Arm]
    memory: int | None = None

    def check(self, sources: Sequence[Path], targets: Mapping[str, Path]) -> None:
        """Compare what each arm wrote to its target with the sources, bit for bit.

        Raises InvalidMeasurement: naming the arm and the values that differ or miss.
        """
        for name, target in targets.items():
            if read := self.arms[name].read:
                for wanted, found in zip_longest(self.truth(sources), read(target)):
                    if wanted is None or found is None:
                        raise InvalidMeasurement(
                            f"{name} wrote {'fewer' if wanted else 'more'} values than there are"
                        )
                    if not same(wanted[1], found[1]):
                        raise InvalidMeasurement(
                            f"{name} does not hold the values of the sources: {wanted[0]}"
                        )


def missing(environment: str | None, needs: Sequence[str], environments: Path) -> str | None:
    """Of an environment in `environments`, or of the modules `needs` in maelio's own; None: all is there."""
    if environment:
        there = (environments / environment / "bin" / "python").exists()
        return None if there else f"no {environments / environment}; `make peers` makes it"
    absent = [name for name in needs if not _installed(name)]
    return f"no module {', '.join(absent)}; pip install 'maelio[peers]'" if absent else None


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package it is in
        return False


def same(wanted: NDArray[Any], found: NDArray[Any]) -> bool:
    """Same dtype, shape and bits."""
    alike = wanted.dtype == found.dtype and wanted.shape == found.shape
    bits = f"u{wanted.dtype.itemsize}"
    return alike and bool(
        np.array_equal(np.ascontiguousarray(wanted).view(bits), np.ascontiguousarray(found).view(bits))
    )


def restored(target: Path) -> xr.Dataset:
    """What maelio wrote, as xarray gives it back."""
    return xr.open_dataset(target, engine="maelio", decode_times=False, cache=False)

"""Stand-ins: files with the structure, names, units, packing and layout of the originals, filled with plausible weather.

They depend on the request, the scale and the seed alone, byte by byte. Every writer has the signature of `Writer` and
says in its docstring which request it takes, what `scale` does, and what is known about the numbers.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from pydantic import JsonValue

from maelio.plugins.standins import ens10, radiation, radiation_records, yr


class Writer(Protocol):
    def __call__(
        self, path: Path, request: Mapping[str, JsonValue], *, scale: float = 1.0, seed: int = 0
    ) -> None: ...


WRITERS: Mapping[str, Writer] = MappingProxyType(
    {
        "maelstrom-yr": yr.write,
        "maelstrom-radiation": radiation.write,
        "maelstrom-radiation-tf": radiation_records.write,
        "maelstrom-ens10": ens10.write,
    }
)
"""Who writes one file of a dataset, by the dataset's public id."""

"""A fast, proven data path for weather and climate machine learning.

`convert` restructures NetCDF into a store, `stream` feeds the store to torch, or `in_place` what was not
converted, `measure` says where the time of a training loop went, `load_dataset` is CliMetLab's. Each is imported when first used, so that `import maelio` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maelio.converters.convert import convert
    from maelio.converters.inplace import in_place
    from maelio.ledger import measure
    from maelio.loaders.stream import stream
    from maelio.loaders.tiles import Tiles
    from maelio.plugins.names import load_dataset

__version__ = "0.1.0"
__all__ = ["Tiles", "__version__", "convert", "in_place", "load_dataset", "measure", "stream"]

_HOMES = {
    "Tiles": "maelio.loaders.tiles",
    "convert": "maelio.converters.convert",
    "in_place": "maelio.converters.inplace",
    "load_dataset": "maelio.plugins.names",
    "measure": "maelio.ledger",
    "stream": "maelio.loaders.stream",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'maelio' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""Whatever else xarray opens: the slow way in for formats that nothing here knows.

xarray finds an engine by itself, from those that are installed. What engines do inside is not known, so one
thread of the process is in them at a time, and none together with the NetCDF library.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xarray as xr
from numpy.typing import NDArray

from maelio.converters.netcdf import library
from maelio.converters.source import Source, Variable, describe_variable, extent
from maelio.converters.storage import Slow
from maelio.errors import BadData

_SLOW = Slow("opened by whatever engine xarray has for it")


def describe(path: Path) -> Source:
    """What xarray's engine says is in a file. Raises BadData: no engine takes it; the message is xarray's, in brief."""
    size, modified_ns = extent(path)
    with _opened(path) as raw:
        return Source(
            path=path,
            format="xarray",
            bytes=size,
            modified_ns=modified_ns,
            attributes=dict(raw.attrs),
            unlimited=frozenset(map(str, raw.encoding.get("unlimited_dims", ()))),
            variables={
                str(name): describe_variable(path, str(name), variable, variable.dtype, _SLOW)
                for name, variable in raw.variables.items()
            },
        )


def read_raw(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded. Raises BadData: naming the variable that cannot be read."""
    with _opened(source.path) as raw:
        return {name: _values(source, name, raw.variables[name]) for name in names}


def read_slowly(source: Source, variable: Variable, box: Mapping[str, slice]) -> NDArray[Any]:
    """A `box` of one variable, by dimension, not decoded."""
    with _opened(source.path) as raw:
        return _values(source, variable.name, raw.variables[variable.name].isel(box))


def _values(source: Source, name: str, variable: xr.Variable) -> NDArray[Any]:
    try:
        values: NDArray[Any] = variable.values
    except Exception as error:  # engines raise whatever they like
        raise BadData(f"{source.path}: variable {name!r} cannot be read: {brief(error)}") from error
    return values


@contextmanager
def _opened(path: Path) -> Iterator[xr.Dataset]:
    with library:
        try:
            raw = xr.open_dataset(path, decode_cf=False, cache=False)
        except Exception as error:  # engines raise whatever they like
            raise BadData(f"{path}: xarray cannot open it: {brief(error)}") from error
        with raw:
            yield raw.assign({name: _as_numbers(name, variable) for name, variable in _decoded_times(raw)})


def _decoded_times(raw: xr.Dataset) -> Iterator[tuple[str, xr.Variable]]:
    """Variables that the engine has decoded to times on its own."""
    return ((str(name), variable) for name, variable in raw.variables.items() if variable.dtype.kind in "mM")


def _as_numbers(name: str, times: xr.Variable) -> xr.Variable:
    return xr.conventions.encode_cf_variable(times, name=name)


def brief(error: BaseException) -> str:
    """What went wrong, in one line that is not too long."""
    text = str(error).partition("\n")[0] or type(error).__name__
    return text if len(text) <= 160 else f"{text[:160]}..."

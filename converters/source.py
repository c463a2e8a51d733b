"""What one NetCDF file holds: names, shapes, attributes and byte tables. No field value is read."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters import netcdf3, netcdf4
from maelio.converters.signature import identify
from maelio.converters.storage import Rows, Slow, Storage
from maelio.errors import BadData

_PACKED = ("scale_factor", "add_offset", "_Unsigned")
_FILLS = ("_FillValue", "missing_value")
PACKING = (*_PACKED, *_FILLS)  # attributes that are used up when values are decoded


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """A variable as the file has it. `decoded` is its dtype after `_FillValue`, `scale_factor` and the like."""

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: Mapping[str, Any]
    stored: np.dtype[Any]
    decoded: np.dtype[Any]
    storage: Storage

    @property
    def packed(self) -> bool:
        """Values change dtype or scale on decoding."""
        return self.stored.newbyteorder("=") != self.decoded or any(
            name in self.attributes for name in _PACKED
        )

    @property
    def fills(self) -> tuple[Any, ...]:
        """Values that stand for "missing", besides NaN."""
        values = [
            value for name in _FILLS if name in self.attributes for value in np.ravel(self.attributes[name])
        ]
        return tuple(value for value in values if value.dtype.kind in "fiu" and not np.isnan(value))

    def along(self, dimension: str) -> Storage:
        """How to read rows along `dimension`."""
        if isinstance(self.storage, Rows) and self.dimensions[0] != dimension:
            return Slow(f"contiguous, and {dimension!r} is not its first dimension")
        return self.storage


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """One file. `variables` keep the file's order."""

    path: Path
    bytes: int
    modified_ns: int
    attributes: Mapping[str, Any]
    unlimited: frozenset[str]
    variables: Mapping[str, Variable]

    @property
    def sizes(self) -> dict[str, int]:
        return {
            name: size
            for variable in self.variables.values()
            for name, size in zip(variable.dimensions, variable.shape, strict=True)
        }


def describe(path: Path) -> Source:
    """Open a file once and note what a plan needs.

    Raises:
        NotFound, NotPermitted: see `identify`.
        BadData: not NetCDF, damaged, or cut short.
    """
    path = path.absolute()
    kind = identify(path)
    status = os.stat(path)
    with open_raw(path) as raw:
        names = [str(name) for name in raw.variables]
        shapes = {name: raw.variables[name].shape for name in names}
        tables: Mapping[str, tuple[np.dtype[Any], Storage]] = (
            netcdf3.tables(path) if kind == "netcdf3" else netcdf4.tables(path, shapes)
        )
        return Source(
            path=path,
            bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
            attributes=dict(raw.attrs),
            unlimited=frozenset(map(str, raw.encoding.get("unlimited_dims", ()))),
            variables={name: _variable(path, name, raw.variables[name], tables.get(name)) for name in names},
        )


_library = threading.RLock()  # netCDF-C and HDF5 crash when two threads are inside, in whatever files


@contextmanager
def open_raw(path: Path) -> Iterator[xr.Dataset]:
    """The file through its own library, nothing decoded; one thread of the process at a time.

    Raises BadData: the library cannot open it.
    """
    with _library, _opened(path) as raw:
        yield raw


def _opened(path: Path) -> xr.Dataset:
    try:
        return xr.open_dataset(path, engine="netcdf4", decode_cf=False, cache=False)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise BadData(f"{path} cannot be opened as NetCDF: {reason}") from error


def read_raw(source: Source, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Whole variables, not decoded. Raises BadData: naming the variable that cannot be read."""
    values = {}
    with open_raw(source.path) as raw:
        for name in names:
            try:
                values[name] = raw.variables[name].values
            except (OSError, RuntimeError) as error:
                raise BadData(f"{source.path}: variable {name!r} cannot be read: {error}") from error
    return values


def _variable(
    path: Path, name: str, raw: xr.Variable, table: tuple[np.dtype[Any], Storage] | None
) -> Variable:
    dimensions = tuple(map(str, raw.dims))
    stored, storage = table or (raw.dtype, Slow("no fixed place in the file"))
    try:
        decoded = decode(name, raw).dtype.newbyteorder("=")
    except (ValueError, TypeError) as error:
        raise BadData(f"{path}: variable {name!r} has attributes that cannot be decoded: {error}") from error
    return Variable(
        name=name,
        dimensions=dimensions,
        shape=raw.shape,
        attributes=dict(raw.attrs),
        stored=stored,
        decoded=decoded,
        storage=storage,
    )


def decode(name: str, raw: xr.Variable) -> xr.Variable:
    """Missing values as NaN, packed integers as floats, exactly as xarray does it. Times stay numbers."""
    return xr.conventions.decode_cf_variable(
        name, raw, mask_and_scale=True, decode_times=False, decode_timedelta=False
    )

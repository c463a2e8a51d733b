"""What one file holds, whatever its format: names, shapes, attributes, and where the values lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from maelio.converters.origin import Origin, public
from maelio.converters.problems import Problem
from maelio.converters.reduction import Statistic
from maelio.converters.signature import Format
from maelio.converters.storage import Chunks, Held, Rows, Slow, Storage
from maelio.errors import BadData
from maelio.zarr_chunks import ZarrChunks

PACKED = ("scale_factor", "add_offset", "_Unsigned")
FILLS = ("_FillValue", "missing_value")
PACKING = (*PACKED, *FILLS)  # attributes that are used up when values are decoded


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """Not in the file, but made of a variable that is: a statistic over one of its dimensions."""

    of: "Variable"
    dimension: str
    statistic: Statistic


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """A variable as the file has it, or as it is made. `decoded` is its dtype after `_FillValue`, `scale_factor` and the like.

    `group` is the path of the group it lies in, empty for the root.
    """

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: Mapping[str, Any]
    stored: np.dtype[Any]
    decoded: np.dtype[Any]
    storage: Storage | Reduced
    group: str = ""

    @property
    def held(self) -> "Variable":
        """What the file has of it."""
        return self.storage.of if isinstance(self.storage, Reduced) else self

    @property
    def packed(self) -> bool:
        """Values change dtype or scale on decoding."""
        return self.stored.newbyteorder("=") != self.decoded or any(
            name in self.attributes for name in PACKED
        )

    @property
    def fills(self) -> tuple[Any, ...]:
        """Values that stand for "missing", besides NaN."""
        values = [
            value for name in FILLS if name in self.attributes for value in np.ravel(self.attributes[name])
        ]
        return tuple(value for value in values if value.dtype.kind in "fiu" and not np.isnan(value))

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """The shape of what is decoded at once; None where every index can be read alone."""
        match self.storage:
            case Chunks(shape=shape) | ZarrChunks(shape=shape) | Slow(chunks=shape):
                return shape
            case _:
                return None

    def along(self, dimension: str) -> Storage:
        """How to read rows along `dimension`, of what the file has."""
        if isinstance(self.storage, Reduced):
            return self.storage.of.along(dimension)
        if isinstance(self.storage, Rows) and self.dimensions[0] != dimension:
            return Slow(f"contiguous, and {dimension!r} is not its first dimension")
        return self.storage


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Source:
    """One file. `variables` keep the file's order.

    `flipped`: dimensions that are read from their last index to the first. `absent`: variables that the file
    has not, or not as they are wanted; what stands for them is NaN. `origin`: where `path` was fetched from.
    """

    path: Path
    format: Format
    bytes: int
    modified_ns: int
    attributes: Mapping[str, Any]
    unlimited: frozenset[str]
    variables: Mapping[str, Variable]
    flipped: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()
    origin: Origin | None = None

    @property
    def identity(self) -> tuple[str, int | None, int | None, str | None]:
        """Name, bytes, time of change and tag: another one where the content may be another."""
        if self.origin is None:
            return str(self.path), self.bytes, self.modified_ns, None
        return public(self.origin.url), self.origin.bytes, self.origin.modified_ns, self.origin.etag

    @property
    def sizes(self) -> dict[str, int]:
        return {
            name: size
            for variable in self.variables.values()
            for name, size in zip(variable.dimensions, variable.shape, strict=True)
        }


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """What was found of a file, and what is wrong with it; no source where it cannot be used at all."""

    source: Source | None
    problems: tuple[Problem, ...] = ()


def stand_in(model: Variable, dimension: str, samples: int) -> Variable:
    """NaN in the place of the float variable `model`, for so many samples."""
    shape = tuple(
        samples if name == dimension else size
        for name, size in zip(model.dimensions, model.shape, strict=True)
    )
    attributes = {key: value for key, value in model.attributes.items() if key not in PACKING}
    nothing = np.broadcast_to(np.array(np.nan, model.decoded), shape)
    return Variable(
        model.name, model.dimensions, shape, attributes, model.decoded, model.decoded, Held(nothing)
    )


def decode(name: str, raw: xr.Variable) -> xr.Variable:
    """Missing values as NaN, packed integers as floats, exactly as xarray does it. Times stay numbers."""
    return xr.conventions.decode_cf_variable(
        name, raw, mask_and_scale=True, decode_times=False, decode_timedelta=False
    )


def plain_variable(
    dimensions: Sequence[str], values: NDArray[Any], attributes: Mapping[str, Any] = MappingProxyType({})
) -> xr.Variable:
    """A variable of values that are numpy's. Off its fast path xarray loads dask, a third of a second, to ask."""
    return xr.Variable(dimensions, values, dict(attributes), fastpath=True)


def extent(path: Path) -> tuple[int, int]:
    """Bytes and the last time of change in nanoseconds, of a file or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)


def describe_variable(
    path: Path, name: str, raw: xr.Variable, stored: np.dtype[Any], storage: Storage, group: str = ""
) -> Variable:
    """A variable from what its library opened, not decoded. Raises BadData: its attributes make no sense."""
    try:
        decoded = decode(name, raw).dtype.newbyteorder("=")
    except (ValueError, TypeError) as error:
        raise BadData(f"{path}: variable {name!r} has attributes that cannot be decoded: {error}") from error
    return Variable(
        name=name,
        dimensions=tuple(map(str, raw.dims)),
        shape=raw.shape,
        attributes=dict(raw.attrs),
        stored=stored,
        decoded=decoded,
        storage=replace(storage, chunks=_chunks(raw)) if isinstance(storage, Slow) else storage,
        group=group,
    )


def _chunks(raw: xr.Variable) -> tuple[int, ...] | None:
    """The shape of the chunks that a library decodes as a whole, as xarray tells it."""
    found = raw.encoding.get("chunksizes") or raw.encoding.get("chunks")
    return tuple(found) if found and len(found) == raw.ndim else None

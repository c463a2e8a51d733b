"""Make a finished conversion a store: coordinates and metadata, the root last."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from crc32c import crc32c
from pydantic import JsonValue

import maelio
from maelio.attributes import natural, typed
from maelio.converters.moments import join
from maelio.converters.options import Options
from maelio.converters.plan import Plan
from maelio.converters.region import Done
from maelio.converters.samples import Samples
from maelio.converters.small_arrays import plain_files
from maelio.converters.source import PACKING, Reduced, Variable, plain_variable
from maelio.files import write_atomically
from maelio.store import (
    COORDINATES,
    Contents,
    Shard,
    SourceFile,
    SourceVariable,
    Stack,
    StackedArray,
    root_files,
)


def publish(plan: Plan, carried: Mapping[str, xr.Variable], done: Sequence[Done], folder: Path) -> None:
    """Write what surrounds the shards into `folder`; the root, without which nothing opens, last."""
    home = folder if plan.options.format == "zarr" else folder / COORDINATES
    carried_arrays: dict[str, JsonValue] = {}
    for key, content in surroundings(plan, carried).items():
        path = home / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if path.name == "zarr.json":
            carried_arrays[str(Path(key).parent)] = json.loads(content)
    stacked: dict[str, JsonValue] = {
        array.name: array.to_zarr(_attributes(plan, array, carried)) for array in plan.arrays
    }
    if plan.options.format == "zarr":
        for name, metadata in stacked.items():
            write_atomically(folder / name / "zarr.json", json.dumps(metadata, indent=1).encode())
    for array in plan.arrays:
        write_atomically(folder / array.table_key, _table(array, done))
    known, attributes = contents(plan, carried, done), natural(plan.sources[0].attributes)
    for key, content in root_files(known, attributes, stacked, carried_arrays).items():
        write_atomically(folder / key, content)


def surroundings(plan: Plan, carried: Mapping[str, xr.Variable]) -> dict[str, bytes]:
    """The files of all arrays that are not stacked, by key: what is carried, and the names of variables."""
    names = {
        array.dimensions[1]: plain_variable(array.dimensions[1:2], np.array(array.variables, object))
        for array in plan.arrays
    }
    return encode({**carried, **names})


def contents(plan: Plan, carried: Mapping[str, xr.Variable], done: Sequence[Done]) -> Contents:
    first = plan.sources[0]
    stacked = {
        name: _stacked(first.variables[name], array, plan.options)
        for array in plan.arrays
        for name in array.variables
    }
    plain = {name: _carried(first.variables[name]) for name in carried}
    return Contents(
        container=plan.options.format,
        version=maelio.__version__,
        sample_dimension=plan.arrays[0].dimensions[0],
        samples=_product(plan.samples),
        stacks={array.name: _stack(plan, array, done) for array in plan.arrays},
        variables={
            name: (plain | stacked)[name] for name in first.variables if name in plain or name in stacked
        },
        attributes=typed(first.attributes),
        sources=tuple(
            SourceFile(path=path, bytes=size, modified_ns=modified_ns, etag=etag)
            for path, size, modified_ns, etag in (source.identity for source in plan.sources)
        ),
        options={**plan.recorded(), "variables": [*plan.stacked]},
    )


def _product(samples: Samples) -> dict[str, int]:
    return dict(zip(samples.dimensions, samples.shape, strict=True)) if len(samples.shape) > 1 else {}


def _stacked(variable: Variable, array: StackedArray, options: Options) -> SourceVariable:
    kept = {key: value for key, value in variable.attributes.items() if key not in PACKING}
    packing = {key: value for key, value in variable.attributes.items() if key in PACKING}
    bound = {"max_error": options.max_error[variable.name]} if variable.name in options.max_error else {}
    return SourceVariable(
        array=array.name,
        dimensions=variable.dimensions,
        attributes=typed(kept),
        encoding={**typed({"dtype": variable.stored.name, **packing, **bound}), **_origin(variable)},
    )


def _origin(variable: Variable) -> dict[str, JsonValue]:
    match variable.storage:
        case Reduced(of, dimension, statistic):
            return {"reduced": {"variable": of.name, "dimension": dimension, "statistic": statistic}}
        case _:
            return {}


def _carried(variable: Variable) -> SourceVariable:
    return SourceVariable(
        array=variable.name,
        dimensions=variable.dimensions,
        attributes=typed(variable.attributes),
        encoding={},
    )


def _parts(array: StackedArray, done: Sequence[Done]) -> list[Done]:
    """Those of the array, in the order of its shards."""
    return sorted((part for part in done if part.array == array.name), key=lambda part: part.shard)


def _table(array: StackedArray, done: Sequence[Done]) -> bytes:
    """The file of `maelio.chunktable`."""
    return b"".join(part.chunks for part in _parts(array, done))


def _stack(plan: Plan, array: StackedArray, done: Sequence[Done]) -> Stack:
    parts, table = _parts(array, done), _table(array, done)
    level = plan.levels[array.name]
    levels = array.shape[array.dimensions.index(level)] if level else 1
    return Stack(
        variables=array.variables,
        statistics={
            variable: join((part.moments[number] for part in parts), levels).statistics()
            for number, variable in enumerate(array.variables)
        },
        shards=tuple(part.file for part in parts),
        indexes=tuple(part.index for part in parts if part.index),
        table=Shard(bytes=len(table), crc32c=f"{crc32c(table):08x}"),
    )


def _attributes(plan: Plan, array: StackedArray, carried: Mapping[str, xr.Variable]) -> dict[str, JsonValue]:
    """For readers that know Zarr alone: the variables' own attributes, and the coordinates by CF's rule."""
    attributes = {name: plan.sources[0].variables[name].attributes for name in array.variables}
    named = {word for found in attributes.values() for word in str(found.get("coordinates", "")).split()}
    coordinates = " ".join(sorted(named & carried.keys()))
    shown: dict[str, JsonValue] = {
        "variables": {
            name: natural({k: v for k, v in found.items() if k not in PACKING})
            for name, found in attributes.items()
        }
    }
    return shown | ({"coordinates": coordinates} if coordinates else {})


def encode(variables: Mapping[str, xr.Variable]) -> dict[str, bytes]:
    """The files of small variables as xarray writes them to Zarr v3, by key below the root and in its order."""
    plain = {name: plain_files(name, variable) for name, variable in variables.items()}
    others = {name: variables[name] for name, files in plain.items() if files is None}
    files = {key: content for found in plain.values() if found for key, content in found.items()}
    return dict(sorted((files | (_by_xarray(others) if others else {})).items()))


def _by_xarray(variables: Mapping[str, xr.Variable]) -> dict[str, bytes]:
    from zarr.errors import UnstableSpecificationWarning  # zarr takes a sixth of a second to load
    from zarr.storage import MemoryStore

    memory: dict[str, Any] = {}
    with warnings.catch_warnings():
        # Zarr v3 has no final dtype for text yet
        warnings.simplefilter("ignore", UnstableSpecificationWarning)
        coordinates = xr.Coordinates(dict(variables), indexes={})  # an index would load pint and dask
        xr.Dataset(coords=coordinates).to_zarr(MemoryStore(memory), zarr_format=3, consolidated=False)
    return {key: value.to_bytes() for key, value in memory.items() if "/" in key}

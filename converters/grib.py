"""GRIB files: found by a walk over their sections, named by eccodes, arranged as CF variables like cfgrib does."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.converters.decoder import decoder
from maelio.converters.grib_cube import (
    DIRECTION,
    FREQUENCY,
    LEVEL,
    NUMBER,
    STEP,
    TIME,
    Asked,
    Cube,
    Message,
    arrange,
)
from maelio.converters.grib_facts import Facts, Grid
from maelio.converters.grib_walk import Header, walk
from maelio.converters.messages import read_message
from maelio.converters.problems import Problem, failure
from maelio.converters.source import Described, Source, Variable
from maelio.converters.storage import Held, Messages
from maelio.errors import BadData, BadRequest

_SECONDS = {"units": "seconds since 1970-01-01T00:00:00", "calendar": "proleptic_gregorian"}
_COORDINATES: Mapping[str, Mapping[str, str]] = {
    TIME: {
        **_SECONDS,
        "standard_name": "forecast_reference_time",
        "long_name": "initial time of forecast",
    },
    STEP: {
        "units": "hours",
        "dtype": "timedelta64[ns]",
        "standard_name": "forecast_period",
        "long_name": "time since forecast_reference_time",
    },
    "valid_time": {**_SECONDS, "standard_name": "time", "long_name": "time"},
    NUMBER: {"units": "1", "standard_name": "realization", "long_name": "ensemble member numerical id"},
    "depthBelowLand": {"units": "m", "positive": "down", "long_name": "soil depth", "standard_name": "depth"},
    "depthBelowLandLayer": {
        "units": "m",
        "positive": "down",
        "long_name": "soil depth",
        "standard_name": "depth",
    },
    "hybrid": {
        "units": "1",
        "positive": "down",
        "long_name": "hybrid level",
        "standard_name": "atmosphere_hybrid_sigma_pressure_coordinate",
    },
    "heightAboveGround": {
        "units": "m",
        "positive": "up",
        "long_name": "height above the surface",
        "standard_name": "height",
    },
    "isobaricInhPa": {
        "units": "hPa",
        "positive": "down",
        "stored_direction": "decreasing",
        "standard_name": "air_pressure",
        "long_name": "pressure",
    },
    "isobaricInPa": {
        "units": "Pa",
        "positive": "down",
        "stored_direction": "decreasing",
        "standard_name": "air_pressure",
        "long_name": "pressure",
    },
    "isobaricLayer": {
        "units": "Pa",
        "positive": "down",
        "standard_name": "air_pressure",
        "long_name": "pressure",
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class _Index:
    """The messages of one file, and the grids that they are on."""

    path: Path
    bytes: int
    modified_ns: int
    messages: tuple[Message, ...]
    grids: tuple[Grid, ...]


def describe_all(
    paths: Sequence[Path], samples: str | None, variables: Sequence[str] | None, *, keep_last: bool
) -> list[Described]:
    """Files that shall make one dataset, drawn from along `samples`: by default, along what they differ in.

    Of messages that occur twice the first is taken, or the last. Problems are those of the messages: damaged,
    cut short, of a kind that eccodes does not know, or without the ones that make whole variables.

    Raises BadRequest: a wanted variable is not in the first file.
    """
    known = _Known({}, {})
    indexes = [_index_or_problem(path, known) for path in paths]
    whole = [index for index in indexes if isinstance(index, _Index)]
    along = _along(samples, [index.messages for index in whole])
    asked = Asked(along, variables, keep_last)
    return [
        _described(index, asked, first=index is whole[0])
        if isinstance(index, _Index)
        else Described(None, (index,))
        for index in indexes
    ]


def _index_or_problem(path: Path, known: "_Known") -> "_Index | Problem":
    try:
        return _index(path, known)
    except BadData as error:
        return failure(path, error)


def _described(index: _Index, asked: Asked, *, first: bool) -> Described:
    found = arrange(index.path, index.messages, [str(grid) for grid in index.grids], asked)
    for name in asked.variables or () if first else ():
        if name not in found.names:
            raise BadRequest(f"{index.path}: no variable {name!r}; there are {', '.join(found.names)}")
    if not found.cubes:
        return Described(None, found.problems)
    return Described(_source(index, found.cubes, asked.samples), found.problems)


def _along(samples: str | None, files: Sequence[Sequence[Message]]) -> str:
    """The dimension that files follow each other along: the samples', where messages differ in it.

    Else time or step: the one that files differ in, else the longer one, else time.
    """
    if samples in (TIME, STEP):
        return samples
    axes = {NUMBER, DIRECTION, FREQUENCY, *(message.facts.level_type for file in files for message in file)}
    times = [frozenset(message.time for message in file) for file in files]
    steps = [frozenset(message.facts.step_s for message in file) for file in files]
    if len(set(times)) > 1:
        return TIME
    if len(set(steps)) > 1:
        return STEP
    if samples in axes:
        return samples
    if steps and len(steps[0]) > len(times[0]):
        return STEP
    return TIME


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What eccodes said, in whatever file: facts by the key of a header, grids by its grid section."""

    facts: dict[bytes, Facts]
    grids: dict[bytes, Grid]

    def of(self, path: Path, fd: int, header: Header) -> tuple[Facts, Grid]:
        """Raises BadData: the message cannot be described."""
        if header.key not in self.facts or header.grid not in self.grids:
            self._ask(path, fd, header)
        return self.facts[header.key], self.grids[header.grid]

    def _ask(self, path: Path, fd: int, header: Header) -> None:
        message = read_message(fd, header.field)
        try:
            if header.grid in self.grids:
                self.facts[header.key] = decoder().facts(message)
            else:
                self.facts[header.key], self.grids[header.grid] = decoder().facts_and_grid(message)
        except BadData as error:
            raise BadData(
                f"{path}: message {header.field.number} cannot be described: {error} (damaged header?)"
            ) from error


def _index(path: Path, known: _Known) -> _Index:
    status = os.stat(path)
    numbers: dict[bytes, int] = {}
    grids: list[Grid] = []
    messages = []
    fd = os.open(path, os.O_RDONLY)
    try:
        for header in walk(path):
            facts, grid = known.of(path, fd, header)
            if header.grid not in numbers:
                numbers[header.grid] = _number(grid, grids)
            messages.append(Message(facts, numbers[header.grid], header.time, header.field))
    finally:
        os.close(fd)
    return _Index(path, status.st_size, status.st_mtime_ns, tuple(messages), tuple(grids))


def _number(grid: Grid, grids: list[Grid]) -> int:
    """The place among `grids` of the one with the same points; where there is none, `grid` is added."""
    number = next((at for at, other in enumerate(grids) if grid.same(other)), len(grids))
    if number == len(grids):
        grids.append(grid)
    return number


def _source(index: _Index, cubes: Sequence[Cube], samples: str) -> Source:
    grid = index.grids[cubes[0].members[0].grid]
    coordinates: dict[str, Variable] = {}
    fields: dict[str, Variable] = {}
    for cube in cubes:
        own = _cube_coordinates(cube) | _valid_time(cube, coordinates)
        coordinates |= own
        fields[cube.name] = _field(cube, grid, [*own, *grid.coordinates])
    for name, (dimensions, values, attributes) in grid.coordinates.items():
        coordinates[name] = _held(name, dimensions, values, attributes)
    return Source(
        path=index.path,
        format="grib",
        bytes=index.bytes,
        modified_ns=index.modified_ns,
        attributes=_origin(cubes),
        unlimited=frozenset({samples}),
        variables=coordinates | fields,
    )


def _field(cube: Cube, grid: Grid, coordinates: Sequence[str]) -> Variable:
    dimensions = (*cube.dimensions, *grid.dimensions)
    attributes = _common([message.facts.attributes for message in cube.members])
    named = [name for name in coordinates if name not in dimensions]
    return Variable(
        name=cube.name,
        dimensions=dimensions,
        shape=(*cube.fields.shape, *grid.shape),
        attributes={**attributes, **grid.attributes, **({"coordinates": " ".join(named)} if named else {})},
        stored=np.dtype("f4"),
        decoded=np.dtype("f4"),
        storage=Messages(cube.fields, grid.scan),
    )


def _cube_coordinates(cube: Cube) -> dict[str, Variable]:
    made = {}
    for axis, name in cube.coordinates.items():
        kind = cube.facts.level_type if axis == LEVEL else axis
        attributes: dict[str, Any] = {
            "long_name": f"original GRIB coordinate for key: {axis}({kind})",
            "units": "1",
            **_COORDINATES.get(kind, {}),
        }
        values = np.array(cube.axes[axis], np.float64 if axis in (LEVEL, STEP) else np.int64)
        if name in cube.dimensions:
            if axis == LEVEL:
                attributes["axis"] = "Z"
            made[name] = _held(name, (name,), values, attributes)
        else:
            made[name] = _held(name, (), values.reshape(()), attributes)
    return made


def _valid_time(cube: Cube, others: Mapping[str, Variable]) -> dict[str, Variable]:
    """The time that a field holds for: the reference time and the step."""
    times, steps = (np.array(cube.axes[axis]) for axis in (TIME, STEP))
    dimensions = tuple(name for axis in (TIME, STEP) if (name := cube.coordinates[axis]) in cube.dimensions)
    values = np.rint(times[:, None] + 3600 * steps).astype(np.int64)
    values = values.reshape(
        [len(cube.axes[axis]) for axis in (TIME, STEP) if cube.coordinates[axis] in dimensions]
    )
    number = 1
    while True:
        name = "valid_time" if number == 1 else f"valid_time_{number}"
        other = others.get(name)
        if other is None or (
            other.dimensions == dimensions
            and isinstance(other.storage, Held)
            and np.array_equal(other.storage.values, values)
        ):
            return {name: _held(name, dimensions, values, _COORDINATES["valid_time"])}
        number += 1


def _held(
    name: str, dimensions: tuple[str, ...], values: NDArray[Any], attributes: Mapping[str, Any]
) -> Variable:
    return Variable(name, dimensions, values.shape, attributes, values.dtype, values.dtype, Held(values))


def _origin(cubes: Sequence[Cube]) -> dict[str, Any]:
    found = _common([message.facts.origin for cube in cubes for message in cube.members])
    institution = found.get("GRIB_centreDescription")
    return {**found, "Conventions": "CF-1.7", **({"institution": institution} if institution else {})}


def _common(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The attributes in which all agree."""
    distinct = list({id(attributes): attributes for attributes in found}.values())
    first = distinct[0]
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in distinct[1:])
    }

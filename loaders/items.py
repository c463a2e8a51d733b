"""What a batch is made of: from names of variables, levels and windows to parts of stored arrays.

by default                     one tensor of every array, with all its variables, by the array's name
inputs=("t", "u"), ...         `inputs` and `targets`, each of its own variables and steps;
                               `inputs.ARRAY` where its variables stand in several arrays
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from maelio.errors import BadRequest
from maelio.loaders.parts import Part, Runs, runs_of
from maelio.loaders.tiles import Tiles
from maelio.store import StackedArray, Store

Crop = Mapping[str, slice | int | Tiles]
Levels = Sequence[float] | slice


@dataclass(frozen=True)
class Item:
    """One tensor of a batch: `part` of the rows at `steps` of each sample.

    Shape: (sample, *part.shape); with more than one step (sample, step, *part.shape).
    """

    name: str
    part: Part
    steps: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return self.part.shape if len(self.steps) == 1 else (len(self.steps), *self.part.shape)

    @property
    def sample_values(self) -> int:
        return prod(self.shape)

    @property
    def sample_bytes(self) -> int:
        return self.sample_values * self.part.array.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Role:
    """The variables and steps that a training wants as one tensor. `variables` None: all there are."""

    name: str
    variables: Sequence[str] | None
    steps: tuple[int, ...]


def roles_of(
    variables: Sequence[str] | None,
    window: Sequence[int],
    inputs: Sequence[str] | None,
    targets: Sequence[str] | None,
    input_steps: Sequence[int] | None,
    target_steps: Sequence[int] | None,
) -> list[Role]:
    """What a batch is made of, by the arguments of `stream`. Raises BadRequest: they contradict each other."""
    if all(part is None for part in (inputs, targets, input_steps, target_steps)):
        return [Role("", variables, tuple(window))]
    if tuple(window) != (0,):
        raise BadRequest(
            f"window={tuple(window)} with inputs or targets; wanted input_steps and target_steps"
        )
    roles = [Role("inputs", variables if inputs is None else inputs, _steps(input_steps))]
    if targets is not None or target_steps is not None:
        roles.append(Role("targets", variables if targets is None else targets, _steps(target_steps)))
    return roles


def _steps(steps: Sequence[int] | None) -> tuple[int, ...]:
    return (0,) if steps is None else tuple(steps)


def check_steps(role: Role, store: Store) -> None:
    """Raises BadRequest: no steps, one of them twice, or more than the store has."""
    steps, name = role.steps, {"": "window", "inputs": "input_steps", "targets": "target_steps"}[role.name]
    if not steps or len(set(steps)) < len(steps):
        raise BadRequest(f"{name}={steps}; wanted one step or more, each once")
    if steps != (0,) and len(store.sizes) > 1:
        raise BadRequest(
            f"{name}={steps}: samples of {store.path} are drawn along {', '.join(map(repr, store.sizes))}, "
            "where the next one is no later step; wanted (0,)"
        )
    if max(0, *steps) - min(0, *steps) >= store.samples:
        raise BadRequest(f"{name}={steps} is longer than the {store.samples} samples of {store.path}")


def choose(
    store: Store, roles: Iterable[Role], *, levels: Levels | None = None, crop: Crop | None = None
) -> tuple[Item, ...]:
    """The tensors of a batch. A role without a name gives every array a tensor of the array's name.

    `levels` are values of the vertical coordinate, or a slice of positions. `crop` has by dimension a slice
    of positions, the size of a window that is drawn for every sample, or tiles.

    Raises BadRequest: there is no such variable, level or dimension, or a window is larger than its axis.
    """
    roles = tuple(roles)
    _check_names(store, roles)
    parts = _parts(store, levels, crop or {})
    found = []
    for role in roles:
        taken = {name: picked for name, part in parts.items() if (picked := _pick(part, role.variables))}
        for name, part in taken.items():
            key = ".".join(filter(None, (role.name, name if len(taken) > 1 or not role.name else "")))
            found.append(Item(key, part, role.steps))
    return tuple(found)


def vertical(store: Store, array: StackedArray) -> str | None:
    """The vertical dimension, by its coordinate's `axis` or `positive` (CF 1.11, section 4.3)."""
    group = zarr.open_group(store.group, mode="r")
    for dimension in array.dimensions[2:]:
        attributes = group[dimension].attrs if dimension in group else {}
        if attributes.get("axis") == "Z" or "positive" in attributes:
            return dimension
    return None


def _check_names(store: Store, roles: Iterable[Role]) -> None:
    there = dict.fromkeys(name for array in store.arrays.values() for name in array.variables)
    for role in roles:
        if role.variables is None:
            continue
        what = f"{role.name or 'variables'}={tuple(role.variables)}"
        if isinstance(role.variables, str):
            raise BadRequest(f"{role.name or 'variables'}={role.variables!r}; wanted a sequence of names")
        if not role.variables or len(set(role.variables)) < len(role.variables):
            raise BadRequest(f"{what}; wanted one variable or more, each once")
        if strange := [name for name in role.variables if name not in there]:
            raise BadRequest(f"{what}: {store.path} has no {strange[0]!r}, it has {', '.join(there)}")


def _pick(part: Part, variables: Sequence[str] | None) -> Part | None:
    """The part with these variables alone, in their order. None: it has none of them."""
    if variables is None:
        return part
    numbers = [part.array.variables.index(name) for name in variables if name in part.array.variables]
    return Part(part.array, (runs_of(numbers), *part.runs[1:]), part.drawn) if numbers else None


def _parts(store: Store, levels: Levels | None, crop: Crop) -> dict[str, Part]:
    """Of each array the part with all variables."""
    uprights = (
        {name: vertical(store, array) for name, array in store.arrays.items()} if levels is not None else {}
    )
    if levels is not None and not any(uprights.values()):
        raise BadRequest(
            f"levels={levels}: no array of {store.path} has a vertical coordinate; crop takes any"
        )
    known = {dimension for array in store.arrays.values() for dimension in array.dimensions[2:]}
    if strange := [dimension for dimension in crop if dimension not in known]:
        raise BadRequest(
            f"crop={dict(crop)}: no dimension {strange[0]!r}; there are {', '.join(sorted(known))}"
        )
    if twice := set(crop) & set(uprights.values()):
        raise BadRequest(f"{twice.pop()!r} stands in crop, and levels takes from it")
    parts = {}
    for name, array in store.arrays.items():
        runs, drawn = list(Part.whole(array).runs), {}
        for axis, dimension in enumerate(array.dimensions[1:]):
            size = array.row_shape[axis]
            if levels is not None and dimension == uprights.get(name) and axis:
                runs[axis] = _levels(levels, dimension, size, store)
            elif axis and dimension in crop:
                window = crop[dimension]
                if isinstance(window, slice):
                    runs[axis] = _positions(window, size, f"crop: {dimension}={window}")
                else:
                    width = window.size if isinstance(window, Tiles) else window
                    drawn[axis] = _drawn(width, size, dimension)
        parts[name] = Part(array, tuple(runs), drawn)
    return parts


def _levels(levels: Levels, dimension: str, size: int, store: Store) -> Runs:
    if isinstance(levels, slice):
        return _positions(levels, size, f"levels={levels}")
    if not levels:
        raise BadRequest(f"levels={levels}; wanted one or more")
    there: NDArray[Any] = np.asarray(zarr.open_group(store.group, mode="r")[dimension])
    places = {value: position for position, value in enumerate(there.tolist())}
    if strange := [level for level in levels if level not in places]:
        known = ", ".join(f"{value:g}" for value in places)
        raise BadRequest(f"levels={tuple(levels)}: {dimension!r} has no {strange[0]}; it has {known}")
    return runs_of([places[level] for level in levels])


def _positions(window: slice, size: int, what: str) -> Runs:
    """Raises BadRequest: nothing is left."""
    taken = range(size)[window]
    if not taken:
        raise BadRequest(f"{what} leaves nothing of {size} positions")
    return runs_of(taken)


def _drawn(window: int, size: int, dimension: str) -> int:
    if not 1 <= window <= size:
        raise BadRequest(f"crop: a window of {window} along {dimension!r}, which has {size} positions")
    return window

"""What a group of a NetCDF file sees: its own variables, and of the groups around it what describes those."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from maelio.converters.selection import POINTERS


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One group: its path (`""` is the root), the dimensions defined in it, and what it holds, not decoded."""

    group: str
    dimensions: frozenset[str]
    dataset: xr.Dataset


def path_of(group: str) -> list[str]:
    """The groups from the root to `group`, which is a path: `a/b` gives `["", "a", "a/b"]`."""
    names = [name for name in group.split("/") if name]
    return ["/".join(names[:depth]) for depth in range(len(names) + 1)]


def visible(levels: Sequence[Level]) -> dict[str, Level]:
    """The level that each variable of the last of `levels`, which stand root first, is found in.

    All variables of the group itself; of those around it the coordinates of its dimensions, and what attributes
    name (coordinates, bounds, grid mappings), the nearest first. A dimension that is defined again hides the
    one of that name outside, and with it every variable that has it.
    Source: NetCDF User's Guide, "Groups"; CF 1.11, section 2.7 "Groups".
    """
    *around, inner = levels
    found = {str(name): inner for name in inner.dataset.variables}
    hidden = inner.dimensions
    for level in reversed(around):
        while described := [
            name for name in _wanted(found) if name in level.dataset.variables and _seen(level, name, hidden)
        ]:
            found |= dict.fromkeys(described, level)
        hidden |= level.dimensions
    return found


def _seen(level: Level, name: str, hidden: frozenset[str]) -> bool:
    return hidden.isdisjoint(map(str, level.dataset.variables[name].dims))


def _wanted(found: Mapping[str, Level]) -> list[str]:
    """Names that describe what was found, and were not found yet."""
    names: dict[str, None] = {}
    for name, level in found.items():
        variable = level.dataset.variables[name]
        names |= dict.fromkeys((*map(str, variable.dims), *pointed_at(variable)))
    return [name for name in names if name not in found]


def pointed_at(variable: xr.Variable) -> list[str]:
    """Names of variables that describe this one, as its attributes have them: coordinates, bounds, grid mappings."""
    words = " ".join(str(variable.attrs.get(pointer, "")) for pointer in POINTERS).split()
    return [word.rstrip(":") for word in words]

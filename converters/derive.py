"""Variables that are not in a file but made of what is: their names, dimensions and attributes."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import get_args

import numpy as np
import xarray as xr

from maelio.converters.planner import free_name
from maelio.converters.reduction import STATISTICS, Statistic
from maelio.converters.selection import auxiliary
from maelio.converters.source import PACKING, Reduced, Source, Variable
from maelio.errors import BadRequest

_METHODS: dict[Statistic, str] = {"mean": "mean", "std": "standard_deviation"}  # CF 1.11, appendix E


def reduced(
    sources: Sequence[Source],
    stacked: Sequence[str],
    carried: Mapping[str, xr.Variable],
    samples: Sequence[str],
    asked: Mapping[str, Sequence[str]],
) -> tuple[list[Source], list[str], dict[str, xr.Variable]]:
    """The sources, stacked names and carried variables where statistics take the place of a dimension.

    `asked` has that dimension, and which statistics. `t` becomes `t_mean` and `t_std`; variables without the
    dimension stay, coordinates along it go.

    Raises BadRequest: it does not fit the files.
    """
    if not asked:
        return list(sources), list(stacked), dict(carried)
    dimension, statistics = _checked(sources[0], stacked, samples, asked)
    lost = {name for name, variable in carried.items() if dimension in variable.dims}
    if data := sorted(lost - auxiliary(sources[0].variables)):
        raise BadRequest(
            f"{sources[0].path}: variable {data[0]!r} has {dimension!r} and no {samples[0]!r}, so it is not reduced; "
            "leave it out with --variables"
        )
    made = _names(sources[0], stacked, dimension, statistics)
    names = [new for name in stacked for new in made.get(name, {name: None})]
    return (
        [_with(source, made, dimension, lost) for source in sources],
        names,
        {name: variable for name, variable in carried.items() if name not in lost},
    )


def _checked(
    source: Source, stacked: Sequence[str], samples: Sequence[str], asked: Mapping[str, Sequence[str]]
) -> tuple[str, list[Statistic]]:
    text = " ".join(f"{dimension}={','.join(statistics)}" for dimension, statistics in asked.items())
    where = f"{source.path}: --reduce {text}"
    if len(asked) > 1:
        raise BadRequest(f"{where}: wanted one dimension")
    ((dimension, wanted),) = asked.items()
    statistics = [statistic for statistic in STATISTICS if statistic in wanted]
    if unknown := [statistic for statistic in wanted if statistic not in get_args(Statistic)]:
        raise BadRequest(f"{where}: no statistic {unknown[0]!r}; there are {', '.join(STATISTICS)}")
    if not statistics:
        raise BadRequest(f"{where}: wanted one or more of {', '.join(STATISTICS)}")
    if dimension not in source.sizes:
        raise BadRequest(f"{where}: no such dimension; there are {', '.join(source.sizes)}")
    if dimension in samples:
        raise BadRequest(f"{where}: the samples lie along {dimension!r}; take another --samples")
    if not any(dimension in source.variables[name].dimensions for name in stacked):
        raise BadRequest(f"{where}: none of {', '.join(stacked)} has {dimension!r}")
    return dimension, statistics


def _names(
    source: Source, stacked: Sequence[str], dimension: str, statistics: Sequence[Statistic]
) -> dict[str, dict[str, Statistic]]:
    """Of each variable that has the dimension, the new names and what they are."""
    taken = {*source.variables, *source.sizes}
    made: dict[str, dict[str, Statistic]] = {}
    for name in stacked:
        if dimension in source.variables[name].dimensions:
            made[name] = {free_name(f"{name}_{statistic}", taken): statistic for statistic in statistics}
            taken |= made[name].keys()
    return made


def _with(
    source: Source, made: Mapping[str, Mapping[str, Statistic]], dimension: str, lost: AbstractSet[str]
) -> Source:
    variables: dict[str, Variable] = {}
    for name, variable in source.variables.items():
        if name in lost:
            continue
        if name not in made:
            variables[name] = variable
        for new, statistic in made.get(name, {}).items():
            variables[new] = _derived(new, Reduced(variable, dimension, statistic), lost)
    return replace(source, variables=variables)


def _derived(name: str, storage: Reduced, lost: AbstractSet[str]) -> Variable:
    held = storage.of
    dtype = held.decoded if held.decoded.kind == "f" else np.dtype(np.float64)
    sizes = dict(zip(held.dimensions, held.shape, strict=True))
    del sizes[storage.dimension]
    attributes = {key: value for key, value in held.attributes.items() if key not in PACKING}
    if "coordinates" in attributes:
        kept = [word for word in str(attributes.pop("coordinates")).split() if word not in lost]
        attributes |= {"coordinates": " ".join(kept)} if kept else {}
    method = f"{storage.dimension}: {_METHODS[storage.statistic]}"
    attributes["cell_methods"] = f"{attributes.get('cell_methods', '')} {method}".strip()
    return Variable(name, tuple(sizes), tuple(sizes.values()), attributes, dtype, dtype, storage)

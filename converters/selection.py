"""Which dimension samples are drawn from, which variables are stacked, and which are carried along."""

from collections.abc import Mapping, Sequence

from maelio.converters.source import Source, Variable
from maelio.errors import BadRequest

POINTERS = ("coordinates", "bounds", "climatology", "grid_mapping", "cell_measures", "formula_terms")


def names(text: str) -> tuple[str, ...]:
    """Names with commas between. Raises BadRequest: one is empty, or comes twice."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len({*found}) < len(found):
        raise BadRequest(f"{text!r}: wanted names with commas between, each once")
    return found


def sample_dimensions(source: Source, wanted: str | None) -> tuple[str, ...]:
    """The dimensions to draw samples from: the wanted ones, else time, else the unlimited one.

    Raises BadRequest: they are not there, or cannot be told.
    """
    sizes = source.sizes
    if wanted is not None:
        for name in names(wanted):
            if name not in sizes:
                raise BadRequest(f"{source.path}: no dimension {name!r}; there are {', '.join(sizes)}")
        return names(wanted)
    if (growing := growing_dimension(source)) is None:
        raise BadRequest(
            f"{source.path}: which dimension are the samples? name it with --samples: {', '.join(sizes)}"
        )
    return (growing,)


def growing_dimension(source: Source) -> str | None:
    """The dimension that files grow along: time, else the unlimited one; in GRIB the other way round."""
    sizes = source.sizes
    times = [name for name in sizes if name in source.variables and is_time(source, name)]
    unlimited = sorted(source.unlimited & sizes.keys())
    for candidates in (unlimited, times) if source.format == "grib" else (times, unlimited):
        if len(candidates) == 1:
            return candidates[0]
    return None


def series_dimension(source: Source, wanted: Sequence[str] | None, samples: Sequence[str]) -> str | None:
    """The dimension of the series that the samples are: the one that files grow along, where samples are not
    drawn from it and data variables have it beside theirs."""
    growing = growing_dimension(source)
    if growing is None or growing in samples:
        return None
    plain = auxiliary(source.variables)
    having = [
        name
        for name, variable in source.variables.items()
        if name not in plain
        and {growing, *samples} <= {*variable.dimensions}
        and (wanted is None or name in wanted)
    ]
    return growing if having else None


def is_time(source: Source, name: str) -> bool:
    """A coordinate in units like "hours since 1970-01-01" (CF 1.11, section 4.4)."""
    return " since " in str(source.variables[name].attributes.get("units", ""))


def auxiliary(variables: Mapping[str, Variable]) -> set[str]:
    """Names that describe other variables: coordinates, bounds, grid mappings (CF 1.11, chapters 4 to 7)."""
    named = {name for name, variable in variables.items() if name in variable.dimensions}
    for variable in variables.values():
        for pointer in POINTERS:
            named.update(word.rstrip(":") for word in str(variable.attributes.get(pointer, "")).split())
    return named & variables.keys()


def stackable(source: Source, dimensions: Sequence[str]) -> list[str]:
    """Numeric data variables with all of the sample dimensions, in the file's order."""
    plain = auxiliary(source.variables)
    return [
        name
        for name, variable in source.variables.items()
        if {*dimensions} <= {*variable.dimensions}
        and name not in plain
        and variable.decoded.kind in "fiu"
        and not is_time(source, name)
    ]


def select(
    source: Source, wanted: Sequence[str] | None, dimensions: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Names to stack, and names to carry along as they are.

    Stacked are numeric data variables with all of the sample `dimensions`, in the file's order; coordinates, bounds,
    grid mappings, times and text are carried along. With `wanted`, other data variables are left out.

    Raises:
        BadRequest: a wanted variable is not there or cannot be stacked, or nothing can be.
    """
    plain = auxiliary(source.variables)
    along = ", ".join(map(repr, dimensions))
    numeric = stackable(source, dimensions)
    for name in wanted or ():
        if name not in source.variables:
            known = ", ".join(sorted(set(source.variables) - plain))
            raise BadRequest(f"{source.path}: no variable {name!r}; there are {known}")
        if name not in numeric:
            raise BadRequest(f"{source.path}: variable {name!r} is not numeric data along {along}")
    if not numeric:
        raise BadRequest(f"{source.path}: no numeric variable has the sample dimension(s) {along}")
    stacked = [name for name in numeric if wanted is None or name in wanted]
    carried = [name for name in source.variables if name not in numeric and (wanted is None or name in plain)]
    return stacked, carried

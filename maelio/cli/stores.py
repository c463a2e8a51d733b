"""`maelio inspect`, `verify` and `compare`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from math import nan, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maelio.cli.output import AsJson, columns, emit
from maelio.errors import BadData, BadRequest
from maelio.files import show_bytes

if TYPE_CHECKING:
    from maelio.store import StackedArray, Statistics, Store


def sizes(store: "Store") -> dict[str, Any]:
    decoded = sum(array.samples * array.row_bytes for array in store.arrays.values())
    stored = sum(shard.bytes for _, shard in store.shard_files())
    return {"decoded_bytes": decoded, "stored_bytes": stored, "ratio": decoded / stored if stored else None}


def inspect(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store that `convert` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Say what a store holds, from its metadata alone."""
    from maelio.store import open_store

    opened = open_store(store)
    if as_json:
        emit(contents(opened))
    else:
        typer.echo(describe(opened))


def contents(store: "Store") -> dict[str, Any]:
    return {
        "store": str(store.path),
        "digest": store.digest,
        "format": store.contents.format,
        "container": store.contents.container,
        "version": store.contents.version,
        "sample_dimension": store.contents.sample_dimension,
        "samples": store.samples,
        "samples_of": store.sizes,
        **sizes(store),
        "arrays": {
            name: {
                "dimensions": array.dimensions,
                "shape": array.shape,
                "dtype": array.dtype.name,
                "chunk_shape": array.chunk_shape,
                "chunk_bytes": array.chunk_bytes,
                "rows_per_shard": array.rows_per_shard,
                "shards": array.shards,
                "codec": array.codec.name,
                "variables": {
                    variable: {
                        "units": store.contents.variables[variable].attributes.get("units"),
                        "reduced": store.contents.variables[variable].encoding.get("reduced"),
                        "max_error": store.contents.variables[variable].encoding.get("max_error"),
                        "statistics": statistics.model_dump(),
                    }
                    for variable, statistics in _statistics(store, array)
                },
            }
            for name, array in store.arrays.items()
        },
        "sources": [source.model_dump() for source in store.contents.sources],
        "options": store.contents.options,
        "attributes": store.contents.attributes,
    }


def _statistics(store: "Store", array: "StackedArray") -> "list[tuple[str, Statistics]]":
    known = store.contents.stacks[array.name].statistics
    return [(variable, known[variable]) for variable in array.variables]


def describe(store: "Store") -> str:
    stored = sizes(store)
    size = f"{show_bytes(stored['stored_bytes'])} ({show_bytes(stored['decoded_bytes'])} decoded)"
    product = f" ({' x '.join(map(str, store.sizes.values()))})" if len(store.sizes) > 1 else ""
    samples = f"{store.samples} samples along {', '.join(map(repr, store.sizes))}{product}"
    lines = [f"{store.path}: {samples}, {size}, {store.digest}"]
    lines += [f"{name} rounded, by {bound:g} {unit} at most".strip() for name, unit, bound in _rounded(store)]
    lines += _derived(store)
    lines.append("")
    for name, array in store.arrays.items():
        shape = ", ".join(f"{dim}: {size}" for dim, size in zip(array.dimensions, array.shape, strict=True))
        chunk = f"chunk {array.chunk_shape} of {show_bytes(array.chunk_bytes)}, codec {array.codec.name}"
        lines.append(f"{name} {array.dtype} ({shape})")
        shards = f"{array.shards} {array.container} shard(s) of {array.rows_per_shard} samples"
        lines.append(f"{chunk}; {shards}")
        rows: list[tuple[str, ...]] = [("variable", "unit", "min", "mean", "max", "std", "missing")]
        for variable, statistics in _statistics(store, array):
            unit = store.contents.variables[variable].attributes.get("units")
            numbers = [f"{value:.6g}" for value in pooled(statistics)]
            rows.append((variable, str(unit or ""), *numbers, str(sum(statistics.missing))))
        lines += [columns(rows), ""]
    sources = [
        (
            source.path,
            "" if source.bytes is None else show_bytes(source.bytes),
            "" if source.modified_ns is None else f"{_time(source.modified_ns):%Y-%m-%d %H:%M:%SZ}",
        )
        for source in store.contents.sources
    ]
    return "\n".join([*lines, columns(sources)])


def _rounded(store: "Store") -> "list[tuple[str, str, float]]":
    """Variables with an error bound: name, unit, bound."""
    return [
        (name, str(variable.attributes.get("units", "")), float(str(bound)))
        for name, variable in store.contents.variables.items()
        if (bound := variable.encoding.get("max_error")) is not None
    ]


def _derived(store: "Store") -> list[str]:
    """One line for each variable that the source did not have."""
    return [
        f"{name} is the {made['statistic']} of {made['variable']} over {made['dimension']!r}"
        for name, variable in store.contents.variables.items()
        if isinstance(made := variable.encoding.get("reduced"), dict)
    ]


def _time(ns: int) -> datetime:
    return datetime.fromtimestamp(ns / 1e9, UTC)


def pooled(statistics: "Statistics") -> tuple[float, float, float, float]:
    """Minimum, mean, maximum and population standard deviation over all levels, in the variable's unit.

    NaN where no level has a value. Source: the law of total variance.
    """
    levels = [
        level
        for level in zip(
            statistics.count, statistics.min, statistics.mean, statistics.max, statistics.std, strict=True
        )
        if level[0]
    ]
    if not levels:
        return nan, nan, nan, nan
    total = sum(count for count, *_ in levels)
    mean = sum(count * level for count, _, level, _, _ in levels) / total
    variance = sum(count * (std**2 + (level - mean) ** 2) for count, _, level, _, std in levels) / total
    return min(level[1] for level in levels), mean, max(level[3] for level in levels), sqrt(variance)


def verify(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store that `convert` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Read every shard and compare it with its checksum. Exit code 6 where one is damaged."""
    from maelio.converters.verify import verify as damages_of

    damages = damages_of(store)
    if as_json:
        emit({"store": str(store), "damages": [{"file": str(d.file), "reason": d.reason} for d in damages]})
    for damage in damages:
        typer.echo(f"{damage.file}: {damage.reason}", err=as_json)
    if damages:
        raise typer.Exit(BadData.exit_code)
    if not as_json:
        typer.echo(f"{store}: every shard is what was written")


def compare(
    wanted: Annotated[
        list[str], typer.Argument(metavar="A", help="A store, or source files, as they should be.")
    ],
    found: Annotated[str, typer.Argument(metavar="B", help='A store, a file, or a pattern: "*.nc".')],
    within: Annotated[
        list[str] | None,
        typer.Option(metavar="VAR=VALUE", help="Accept this much, in the variable's unit. May be repeated."),
    ] = None,
    group: Annotated[
        str,
        typer.Option(
            metavar="PATH", help="Read this group of NetCDF4 files or Zarr.", show_default="the root"
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Compare two datasets value by value. Exit code 6 where they differ."""
    from maelio.converters.compare import compare as differences
    from maelio.converters.locate import named

    tolerances = numbers(within or (), "--within")
    first, second = named(wanted), named(found)
    different = differences(first, second, within=tolerances, group=group)
    if as_json:
        emit(
            {
                "wanted": [str(name) for name in first],
                "found": [str(name) for name in second],
                "within": tolerances,
                "equal": not different,
                "differences": [asdict(each) for each in different],
            }
        )
    for each in different:
        typer.echo(str(each), err=as_json)
    if different:
        raise typer.Exit(BadData.exit_code)
    if not as_json:
        typer.echo(f"{found} holds what {', '.join(wanted)} holds")


def assignments(texts: Sequence[str], option: str) -> dict[str, str]:
    """`name=value`, repeated. Raises BadRequest: one is not of that form, or a name comes twice."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise BadRequest(f"{option} {text}: wanted NAME=VALUE")
        if name in found:
            raise BadRequest(f"{option} {text}: {name!r} was given before, as {found[name]}")
        found[name] = value
    return found


def numbers(texts: Sequence[str], option: str) -> dict[str, float]:
    """`name=number`, repeated. Raises BadRequest."""
    try:
        return {name: float(value) for name, value in assignments(texts, option).items()}
    except ValueError as error:
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f"{option}: {error}") from error

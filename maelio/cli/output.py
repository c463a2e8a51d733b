"""How results reach a terminal, a pipe or another program."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def emit(document: Any) -> None:
    """Print one JSON document; a number that is not finite is null."""
    typer.echo(json.dumps(finite(document), indent=1, allow_nan=False))


def finite(value: Any) -> Any:
    """`value` with null for NaN and infinity, which JSON does not have."""
    match value:
        case float():
            return value if isfinite(value) else None
        case Mapping():
            return {key: finite(entry) for key, entry in value.items()}
        case list() | tuple():
            return [finite(entry) for entry in value]
        case _:
            return value


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as aligned text; the last column stands as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )

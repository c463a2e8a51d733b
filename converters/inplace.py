"""Sources as they are, seen as a store: a conversion's plan, carried out a few rows at a time and never written."""

import logging
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from maelio.converters.convert import tell_accepted
from maelio.converters.locate import Url, named
from maelio.converters.options import Options
from maelio.converters.plan import Plan, pieces
from maelio.converters.prepare import prepare
from maelio.converters.publish import contents, surroundings
from maelio.converters.region import open_source
from maelio.converters.source import extent
from maelio.converters.steps import Feed, feeds
from maelio.errors import BadData, BadRequest
from maelio.foreign import Foreign, Reader
from maelio.store import Stack, StackedArray

log = logging.getLogger(__name__)

DEFAULTS = Options()
_BLOCK_BYTES = 32 * 2**20  # of samples that are decoded together, at most


def in_place(sources: object, samples: str | None = None, options: Options = DEFAULTS) -> Foreign:
    """The store that `convert` would make of the sources, without making it: `stream` takes it, and reads slower.

    Headers and coordinates are read, and every refusal is that of a conversion. Values are not looked at
    before they are asked for, so there are no statistics, and infinite values are delivered.

    Raises: as `convert`; BadRequest: a source is a URL, or samples are series of several files.
    """
    found = named(sources)
    if url := next((name for name in found if isinstance(name, Url)), None):
        raise BadRequest(f"{url}: URLs are not read in place; `maelio convert {shlex.quote(url.text)} STORE`")
    options = replace(options, samples=samples or options.samples, format="zarr", codec="none")
    prepared = prepare(found, None, options)
    plan = prepared.plan
    # Each variable is a chunk: only those that are asked for are read
    arrays = [replace(array, chunk=(array.rows_per_chunk, 1)) for array in plan.arrays]
    blocks = {array.name: _block(plan, array) for array in arrays}
    tell_accepted(plan)
    log.warning("%s", _slower(plan, found, blocks))
    paths = [source.path for source in plan.sources]
    stacks = {array.name: Stack(variables=array.variables, statistics={}, shards=()) for array in arrays}
    return Foreign(
        path=paths[0] if len(paths) == 1 else Path(os.path.commonpath(paths)),
        contents=contents(plan, prepared.carried, ()).model_copy(update={"stacks": stacks}),
        metadata={array.name: array.to_zarr({}) for array in arrays},
        digest=f"sha256:{plan.digest}",
        readers=_Planned(plan),
        blocks=blocks,
        coordinates=surroundings(plan, prepared.carried),
    )


def _slower(plan: Plan, found: Sequence[object], blocks: Mapping[str, int]) -> str:
    """What it costs, and the command that ends that."""
    several = len(found) > 1
    which = f"{found[0]}" + (f" and {len(found) - 1} more" if several else "")
    rows = max(
        (blocks[each.name] for each in plan.arrays if blocks[each.name] > each.rows_per_chunk), default=0
    )
    together = f", {rows} samples are decoded together" if rows else ""
    asked = shlex.quote(str(found[0])) + (" ..." if several else "")
    along = shlex.quote(",".join(plan.samples.dimensions))
    return f"{which}: read in place, slower than a store{together}; `maelio convert {asked} STORE --samples {along}`"


def _block(plan: Plan, array: StackedArray) -> int:
    """Samples that are read together: those of the sources' chunks, where they are not too large."""
    held = [source.variables[name].held for source in plan.sources for name in array.variables]
    along = plan.samples.dimensions[0]
    rows = max(
        each.chunks[each.dimensions.index(along)] * plan.samples.width if each.chunks else 1 for each in held
    )
    return max(array.rows_per_chunk, min(rows, _BLOCK_BYTES // array.row_bytes, array.samples))


@dataclass(frozen=True)
class _Planned:
    """The readers of a plan."""

    plan: Plan

    def open(self, array: str) -> Reader:
        for source in self.plan.sources:
            if source.path.is_file() and extent(source.path) != (source.bytes, source.modified_ns):
                raise BadData(f"{source.path} changed since it was opened")
        return _Rows(self.plan, self._array(array))

    def nbytes(self, array: str, rows: int) -> int:
        found = self._array(array)
        values = rows * found.row_bytes // found.dtype.itemsize // len(found.variables)
        return max(feed.bytes(rows, values) for of_file in self.plan.feeds[array] for feed in of_file)

    def _array(self, name: str) -> StackedArray:
        return next(array for array in self.plan.arrays if array.name == name)


class _Rows:
    """The reader of one array of a plan."""

    def __init__(self, plan: Plan, array: StackedArray) -> None:
        self._plan = plan
        self._feeds: list[list[tuple[Feed, ...]]] = [
            [
                feeds(one, source, plan.samples.dimensions, array.dimensions[2:], plan.parts, plan.options)
                for source in plan.sources
            ]
            for one in (replace(array, variables=(name,)) for name in array.variables)
        ]

    def __call__(self, rows: range, variable: int, out: NDArray[Any]) -> None:
        plan = self._plan
        for piece in pieces(rows, plan.joined, plan.samples):
            source = plan.sources[piece.file]
            with open_source(source) as fd:
                for feed in self._feeds[variable][piece.file]:
                    there = out[piece.into : piece.into + piece.samples, feed.numbers]
                    feed.fill(fd, source, piece.rows, piece.within, there)

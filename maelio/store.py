"""The store: what converters write and loaders read. One Zarr v3 group that plain zarr and xarray open.

    store.zarr/
        zarr.json            the group: source attributes, and `Contents` under the key `maelio`
        fields/zarr.json     one array for all variables that share dimensions and dtype:
        fields/c/0/0/0/0     (time, variable, latitude, longitude), one file a shard
        fields/chunks        where each chunk lies in them, and its CRC-32C; see `maelio.chunktable`
        time/, latitude/...  coordinates and everything else the source held, as xarray writes them

It is built in `store.zarr.part/` beside it and appears under its name in one rename: whatever opens is whole.

An inner chunk is one sample with all variables of its array (cut along `variable` when large), or a block
of rows when samples are small; of samples that are long series it is a part of their time. A shard holds many of them and ends with their offsets and a CRC-32C.

The same chunks may stand in other containers, for readers of WebDataset or TensorFlow; see docs/formats.md:

    store/
        maelio.json          source attributes, `Contents`, and the layout of every array as Zarr has it
        fields-000000.tar    or .tfrecord: one file a shard, one member or record a chunk
        fields-000000.index  where the chunks lie in it, as at the end of a Zarr shard
        fields.chunks        the same of all shards, and the CRC-32C of each chunk
        coordinates.zarr/    coordinates and everything else the source held, as xarray writes them

Source: Zarr v3 core specification; its codec `sharding_indexed`, version 1.0.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from maelio.codecs import Codec
from maelio.errors import BadData, NotFound, NotPermitted

if TYPE_CHECKING:
    from zarr.storage import StoreLike

FORMAT = 1
Container = Literal["zarr", "tar", "tfrecord"]
CONTAINERS: tuple[Container, ...] = get_args(Container)
COORDINATES = "coordinates.zarr"
VARIABLE = "variable"
ABSENT = np.uint64(2**64 - 1)  # offset and length of an inner chunk that lies outside the array

ROOTS = ("zarr.json", "maelio.json")
_CRC_BYTES = 4
_CRC32C: dict[str, JsonValue] = {"name": "crc32c"}
_LITTLE: dict[str, JsonValue] = {"name": "bytes", "configuration": {"endian": "little"}}


@dataclass(frozen=True)
class StackedArray:
    """Variables that share dimensions and dtype, stacked on a `variable` axis behind the sample axis.

    Shape: (sample, variable, *rest). `chunk` counts (rows, variables) of one inner chunk; a shard has
    `rows_per_shard` rows and all variables. Along `rest` both span the whole array, but for chunks that have only
    `length` indexes of the first dimension of it: pieces of a series, whose last one is filled up.
    """

    name: str
    variables: tuple[str, ...]
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, int]
    rows_per_shard: int
    codec: Codec
    container: Container = "zarr"
    length: int | None = None

    @property
    def samples(self) -> int:
        return self.shape[0]

    @property
    def row_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        return (*self.chunk, *(self.length or size for size in self.shape[2:3]), *self.shape[3:])

    @property
    def rows_per_chunk(self) -> int:
        return self.chunk[0]

    @property
    def pieces(self) -> int:
        """Inner chunks that one row is cut into along `variable`."""
        return ceil(self.shape[1] / self.chunk[1])

    @property
    def cuts(self) -> int:
        """Inner chunks that each piece of a row is cut into along the first dimension of `rest`."""
        return ceil(self.shape[2] / self.length) if self.length else 1

    @property
    def row_bytes(self) -> int:
        return prod(self.row_shape) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        return prod(self.chunk_shape) * self.dtype.itemsize

    @property
    def chunks_per_shard(self) -> int:
        return self.rows_per_shard // self.rows_per_chunk * self.pieces * self.cuts

    @property
    def shards(self) -> int:
        return ceil(self.samples / self.rows_per_shard)

    @property
    def fill_value(self) -> float | int:
        return float("nan") if self.dtype.kind == "f" else 0

    def rows_of(self, shard: int) -> range:
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.samples))

    def chunk_name(self, chunk_row: int) -> str:
        """How messages call the inner chunks at `chunk_row`."""
        first = chunk_row * self.rows_per_chunk
        last = min(first + self.rows_per_chunk, self.samples) - 1
        rows = f"row {first}" if self.rows_per_chunk == 1 else f"rows {first} to {last}"
        return f"chunk {chunk_row} of array {self.name!r} ({rows})"

    def rows_stored(self, chunk_row: int) -> int:
        """Rows of the inner chunks at `chunk_row`. Zarr pads the last ones with the fill value; others do not."""
        if self.container == "zarr":
            return self.rows_per_chunk
        return min(self.rows_per_chunk, self.samples - chunk_row * self.rows_per_chunk)

    def shard_key(self, shard: int) -> str:
        if self.container == "zarr":
            return "/".join((self.name, "c", str(shard), *["0"] * (len(self.shape) - 1)))
        return f"{self.name}-{shard:06d}.{self.container}"

    def index_key(self, shard: int) -> str | None:
        """The file that holds the index of a shard. None: the shard ends with it."""
        return None if self.container == "zarr" else f"{self.name}-{shard:06d}.index"

    @property
    def table_key(self) -> str:
        """The file of `maelio.chunktable`."""
        return f"{self.name}/chunks" if self.container == "zarr" else f"{self.name}.chunks"

    def to_zarr(self, attributes: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Zarr v3 array metadata."""
        sharding: dict[str, JsonValue] = {
            "chunk_shape": [*self.chunk_shape],
            "codecs": [*self.codec.to_zarr(self.dtype)],
            "index_codecs": [_LITTLE, _CRC32C],
            "index_location": "end",
        }
        whole = (self.cuts * size for size in self.chunk_shape[2:3])
        shard_shape: list[JsonValue] = [
            self.rows_per_shard,
            self.pieces * self.chunk[1],
            *whole,
            *self.shape[3:],
        ]
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [*self.shape],
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard_shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": "NaN" if self.dtype.kind == "f" else 0,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": dict(attributes),
            "dimension_names": [*self.dimensions],
            "storage_transformers": [],
        }

    @classmethod
    def from_zarr(
        cls, name: str, variables: tuple[str, ...], metadata: Mapping[str, Any], container: Container = "zarr"
    ) -> Self:
        """Raises BadData: an array maelio did not write."""
        try:
            (sharding,) = (codec["configuration"] for codec in metadata["codecs"])
            shard_shape = metadata["chunk_grid"]["configuration"]["chunk_shape"]
            rows, width, *rest = sharding["chunk_shape"]
            return cls(
                name=name,
                variables=variables,
                dimensions=tuple(metadata["dimension_names"]),
                shape=tuple(metadata["shape"]),
                dtype=np.dtype(metadata["data_type"]),
                chunk=(rows, width),
                rows_per_shard=shard_shape[0],
                codec=Codec.from_zarr(sharding["codecs"]),
                container=container,
                length=rest[0] if rest[:1] != metadata["shape"][2:3] else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadData(f"array {name!r} does not have the layout of a maelio store: {error!r}") from error


def pack_index(offsets_and_lengths: NDArray[np.uint64]) -> bytes:
    """The index of a shard. Shape: (chunk, 2), bytes from the start of the shard; ABSENT twice where empty."""
    index = offsets_and_lengths.astype("<u8").tobytes()
    checksum: int = crc32c(index)
    return index + checksum.to_bytes(_CRC_BYTES, "little")


def index_bytes(chunks: int) -> int:
    return chunks * 16 + _CRC_BYTES


def unpack_index(stored: bytes) -> NDArray[np.uint64]:
    """Shape: (chunk, 2). Raises BadData: the checksum does not fit."""
    index, checksum = stored[:-_CRC_BYTES], stored[-_CRC_BYTES:]
    if crc32c(index) != int.from_bytes(checksum, "little"):
        raise BadData("the shard's index does not match its checksum")
    return np.frombuffer(index, "<u8").reshape(-1, 2).astype(np.uint64)


def places(stored: bytes, *, chunks: int, end: int) -> NDArray[np.int64]:
    """Offset and length of every chunk in a file whose chunks end before byte `end`; -1 twice where absent.

    Shape: (chunk, 2). Raises BadData: `stored` is not such an index of `chunks` chunks.
    """
    if len(stored) != index_bytes(chunks):
        raise BadData(f"the shard's index has {len(stored)} bytes, wanted {index_bytes(chunks)}")
    return signed(unpack_index(stored), np.uint64(end))


def signed(index: NDArray[np.uint64], ends: NDArray[np.uint64] | np.uint64) -> NDArray[np.int64]:
    """Offset and length of every chunk, -1 twice where absent.

    Shape: (..., 2); `ends` broadcasts to (...,). Raises BadData: a chunk ends behind byte `ends`.
    """
    offset, length = index[..., 0], index[..., 1]
    outside = (offset > ends) | (length > ends - np.minimum(offset, ends))
    if (outside & (index != ABSENT).any(axis=-1)).any():
        end = np.broadcast_to(ends, outside.shape)[outside][0]
        raise BadData(f"its index points behind the {end} bytes of its chunks")
    return index.view(np.int64)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="strings")


class Statistics(_Frozen):
    """Of one variable over all axes but the vertical one: shape (level,), or one value without levels.

    Unit: the variable's. `count` are present values, `missing` are NaN; without any present value
    the other entries are NaN. `std` is the population's (divided by `count`).
    """

    count: tuple[int, ...]
    missing: tuple[int, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Shard(_Frozen):
    """What a shard file must be. `crc32c` is of the whole file, in hexadecimal."""

    bytes: int
    crc32c: str


class Stack(_Frozen):
    """What the store knows of one stacked array, beyond its Zarr metadata.

    `indexes` lie beside their shards. `table` is the file of `maelio.chunktable`; stores of earlier maelios have none.
    """

    variables: tuple[str, ...]
    statistics: dict[str, Statistics]
    shards: tuple[Shard, ...]
    indexes: tuple[Shard, ...] = ()
    table: Shard | None = None


class SourceVariable(_Frozen):
    """A variable of the source: the array it stands in, and its dimensions and attributes as found there.

    `encoding` is how the source held it: dtype, fill value, scale and offset. The store has decoded values,
    rounded where `encoding` has a `max_error`: no value is farther off, in the variable's unit. Where it has
    `reduced`, the source has no such variable: it is that `statistic` of `variable` over `dimension`.
    """

    array: str
    dimensions: tuple[str, ...]
    attributes: dict[str, JsonValue]
    encoding: dict[str, JsonValue]


class SourceFile(_Frozen):
    """A file or URL that the store was made of; of a URL, what its server said."""

    path: str
    bytes: int | None
    modified_ns: int | None
    etag: str | None = None


class Contents(_Frozen):
    """The entry `maelio` among the group's attributes.

    Where samples are drawn from several dimensions, `samples` are those and their sizes, the slowest first, and
    `sample_dimension` is the name of the axis that stands for all of them.
    """

    format: int = FORMAT
    container: Container = "zarr"
    version: str
    sample_dimension: str
    samples: dict[str, int] = {}
    stacks: dict[str, Stack]
    variables: dict[str, SourceVariable]
    attributes: dict[str, JsonValue]
    sources: tuple[SourceFile, ...]
    options: dict[str, JsonValue]


@dataclass(frozen=True)
class Store:
    """A published store, known from its root metadata alone: nothing else is read to open it."""

    path: Path
    contents: Contents
    metadata: dict[str, dict[str, Any]]
    digest: str

    @cached_property
    def arrays(self) -> dict[str, StackedArray]:
        return {
            name: StackedArray.from_zarr(name, stack.variables, self.metadata[name], self.contents.container)
            for name, stack in self.contents.stacks.items()
        }

    @property
    def samples(self) -> int:
        return next(iter(self.arrays.values())).samples

    @property
    def sizes(self) -> dict[str, int]:
        """Of the dimensions that samples are drawn from, the slowest first; their product is `samples`."""
        return self.contents.samples or {self.contents.sample_dimension: self.samples}

    @property
    def group(self) -> "StoreLike":
        """The Zarr group that holds the coordinates: the store itself, or a part of it."""
        return self.path if self.contents.container == "zarr" else self.path / COORDINATES

    def shard_files(self) -> Iterator[tuple[Path, Shard]]:
        """Every shard, behind it its index where that is a file, and behind all of an array the table of its chunks."""
        for name, stack in self.contents.stacks.items():
            for number, shard in enumerate(stack.shards):
                yield self.path / self.arrays[name].shard_key(number), shard
                if key := self.arrays[name].index_key(number):
                    yield self.path / key, stack.indexes[number]
            if stack.table:
                yield self.path / self.arrays[name].table_key, stack.table


def root_files(
    contents: Contents,
    attributes: Mapping[str, JsonValue],
    stacked: Mapping[str, JsonValue],
    others: Mapping[str, JsonValue],
) -> dict[str, bytes]:
    """The metadata without which nothing opens, by key; the last one publishes.

    `attributes` are the source's. `stacked` and `others` are the Zarr metadata of the arrays by name.
    """
    known: JsonValue = json.loads(contents.model_dump_json())
    if contents.container == "zarr":
        return {"zarr.json": _group({**attributes, "maelio": known}, {**others, **stacked})}
    root = {"attributes": dict(attributes), "maelio": known, "arrays": dict(stacked)}
    return {
        f"{COORDINATES}/zarr.json": _group({}, others),
        "maelio.json": json.dumps(root, indent=1).encode(),
    }


def _group(attributes: Mapping[str, JsonValue], arrays: Mapping[str, JsonValue]) -> bytes:
    """A root `zarr.json` with consolidated metadata."""
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": dict(attributes),
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": dict(arrays)},
    }
    return json.dumps(group, indent=1).encode()


def unfinished(target: Path) -> Path:
    """Where the store that will stand at `target` is built."""
    return target.with_name(f"{target.name}.part")


def open_store(path: str | Path) -> Store:
    """Read the root metadata of a published store.

    Raises:
        NotFound: there is nothing at `path`.
        NotPermitted: it may not be read.
        BadData: this is not a maelio store, or one of another format.
    """
    path = Path(path)
    root, text = _root(path)
    return parse_store(path, root.name, text)


def root_of(path: Path) -> bytes:
    """What the root file of the store at `path` says. Raises as `open_store`."""
    return _root(path)[1]


def parse_store(path: Path, root: str, text: bytes, name: str | None = None) -> Store:
    """The store at `path` whose file `root` says `text`; `name` is what messages call it.

    Raises BadData as `open_store`.
    """
    name = str(path) if name is None else name
    try:
        found = json.loads(text)
        if root == "zarr.json":
            known, metadata = found["attributes"]["maelio"], found["consolidated_metadata"]["metadata"]
        else:
            known, metadata = found["maelio"], found["arrays"]
        contents = Contents.model_validate(known)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        reason = "no maelio entry" if isinstance(error, KeyError) else f"{type(error).__name__} in {root}"
        raise BadData(f"{name} is not a maelio store: {reason}") from error
    if contents.format != FORMAT:
        raise BadData(f"{name}: store format {contents.format}, this maelio reads {FORMAT}")
    return Store(path, contents, metadata, digest=f"crc32c:{crc32c(text):08x}")


def is_store(path: Path) -> bool:
    """Whether a root file says that this is one. Raises BadData: it is not JSON."""
    if (path / "maelio.json").is_file():
        return True
    root = path / "zarr.json"
    try:
        return root.is_file() and "maelio" in json.loads(root.read_bytes()).get("attributes", {})
    except ValueError as error:
        raise BadData(f"{root} is not JSON: {error}") from error


def may_be_store(path: Path) -> bool:
    """Whether there is a root file, whatever it says: a damaged store is one too."""
    return any((path / root).is_file() for root in ROOTS)


def _root(path: Path) -> tuple[Path, bytes]:
    """The file that makes `path` a store, and what it says."""
    for root in (path / name for name in ROOTS):
        try:
            return root, root.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            raise NotPermitted(f"{root}: {error.strerror}") from error
    if path.exists():
        raise BadData(f"{path} is not a maelio store: it has no zarr.json and no maelio.json")
    if unfinished(path).exists():
        raise NotFound(f"{path}: its conversion was not finished; run it again to go on")
    raise NotFound(f"{path}: no such store")

"""How one inner chunk of a store becomes bytes, and comes back straight into a caller's array."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray
from pydantic import JsonValue

from maelio.errors import BadData

CodecName = Literal["none", "lz4", "zstd"]
CODECS: tuple[CodecName, ...] = get_args(CodecName)

_LEVELS: dict[str, int] = {"lz4": 5, "zstd": 1}
_BYTES: dict[str, JsonValue] = {"name": "bytes", "configuration": {"endian": "little"}}
_BLOSC_HEADER = struct.Struct("<4xI4xI")  # bytes decoded, bytes stored


@dataclass(frozen=True, slots=True)
class Codec:
    """Lossless bytes of a little-endian array: `none`, or Blosc `lz4`-5 or `zstd`-1 after a byte shuffle.

    Shape and dtype: any fixed-size dtype, C-contiguous. Called from a thread other than the main one,
    numcodecs takes Blosc's lock-free functions and releases the GIL; that is how the pools use it.

    Source: Zarr v3 core (codec `bytes`) and the `blosc` codec of zarr-extensions.
    """

    name: CodecName = "lz4"

    def encode(self, chunk: NDArray[Any]) -> bytes:
        if self.name == "none":
            return chunk.tobytes()
        return bytes(blosc.compress(chunk, self.name.encode(), _LEVELS[self.name], blosc.SHUFFLE, 0))

    def decode(self, stored: bytes | memoryview, out: NDArray[Any]) -> None:
        """Fill `out`, C-contiguous and of the chunk's dtype, from `stored`.

        Raises:
            BadData: `stored` is not a chunk of `out.nbytes` bytes written with this codec.
        """
        if self.name == "none":
            if len(stored) != out.nbytes:
                raise BadData(f"a chunk holds {len(stored)} bytes, wanted {out.nbytes}")
            out.reshape(-1).view(np.uint8)[:] = np.frombuffer(stored, np.uint8)
            return
        try:
            # Blosc itself believes its header: it reads past the end of what was cut short
            if _BLOSC_HEADER.unpack_from(stored) != (out.nbytes, len(stored)):
                raise ValueError(f"its header does not announce {out.nbytes} bytes")
            blosc.decompress(stored, out)
        except (RuntimeError, ValueError, struct.error) as error:
            raise BadData(f"a chunk of {len(stored)} bytes is not valid Blosc data: {error}") from error

    def to_zarr(self, dtype: np.dtype[Any]) -> list[dict[str, JsonValue]]:
        """The `codecs` entry of Zarr array metadata for chunks of `dtype`."""
        if self.name == "none":
            return [_BYTES]
        configuration: dict[str, JsonValue] = {
            "typesize": dtype.itemsize,
            "cname": self.name,
            "clevel": _LEVELS[self.name],
            "shuffle": "shuffle",
            "blocksize": 0,
        }
        return [_BYTES, {"name": "blosc", "configuration": configuration}]

    @classmethod
    def from_zarr(cls, codecs: Sequence[Mapping[str, Any]]) -> "Codec":
        """Raises BadData: a codec maelio does not write."""
        match [codec["name"] for codec in codecs]:
            case ["bytes"]:
                return cls("none")
            case ["bytes", "blosc"] if (name := codecs[1]["configuration"]["cname"]) in _LEVELS:
                return cls(name)
            case names:
                raise BadData(f"codecs {names}, wanted one of {CODECS}")

"""What a user may ask of a conversion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from maelio.codecs import CodecName
from maelio.converters.policies import Action, Subject, policies
from maelio.store import Container


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may ask of a conversion.

    `samples`: the dimension that training draws samples from (default: time), or several with commas between,
    whose every combination is a sample: `"time,cell"`. `variables`: keep only these.
    `format`: what a shard is: a part of a Zarr array, a tar or a TFRecord file.
    `shard_bytes`, `memory`: bytes of a shard, and the most that all `threads` together may hold. The store does not
    depend on `threads`, so a conversion may be resumed on another machine.
    `group`: the path of the group to read in NetCDF4 files and Zarr stores (default: their root).
    `select`: the labels to take of a dimension, as `subset` reads them: `{"time": "2000-01:2000-06"}`.
    `reduce`: a dimension in whose place statistics are stored, and which: `{"number": ("mean", "std")}`.
    `dtype`: what 64-bit floats are stored as. `max_error`: how far a stored value of a variable may be off, in its
    unit; without it, and but for `dtype`, nothing is lost. `on`: what is done about problems of the sources, as `policies` has
    it; all others are refused. `dask`: who does the work instead of threads of this process: `local:4` processes,
    `slurm:8` jobs, or the address of a scheduler; in a script, call `convert` under `if __name__ == "__main__"` then.

    Raises BadRequest: `on` has what is not in the table of policies.
    """

    samples: str | None = None
    variables: tuple[str, ...] | None = None
    format: Container = "zarr"
    codec: CodecName = "lz4"
    shard_bytes: int = 64 * 2**20
    memory: int = 2 * 2**30
    threads: int = 2
    overwrite: bool = False
    select: Mapping[str, str] = field(default_factory=dict)
    dtype: Literal["float32"] | None = None
    reduce: Mapping[str, Sequence[str]] = field(default_factory=dict)
    max_error: Mapping[str, float] = field(default_factory=dict)
    group: str = ""
    dask: str | None = None
    on: Mapping[Subject, Action] = field(default_factory=dict)

    def __post_init__(self) -> None:
        policies(dict(self.on.items()))

    @property
    def kept_bytes(self) -> int:
        """Of a freed block, the most that a thread's heap may keep: of all together, a fifth of the memory."""
        return self.memory // (16 * max(1, self.threads))

    def recorded(self) -> dict[str, JsonValue]:
        """What a store says about how it was made; other options do not show in it."""
        return {
            "format": self.format,
            "codec": self.codec,
            "group": self.group,
            "select": dict(self.select),
            "reduce": {dimension: [*statistics] for dimension, statistics in self.reduce.items()},
            "dtype": self.dtype,
            "max_error": dict(self.max_error),
            "on": {str(subject): action for subject, action in self.on.items()},
        }

    def lossy(self) -> list[str]:
        """What makes stored values differ from the source's, in words."""
        bounds = [f"{name} within {bound:g}" for name, bound in self.max_error.items()]
        return bounds + ([f"64-bit floats as {self.dtype}"] if self.dtype else [])

"""What is read in the comparison of streams: two data sets, the formats they are kept in, and who reads them."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from maelio.benchmarks.peers.columns import PROFILE_NAMES, PROFILES, Profiles
from maelio.benchmarks.peers.fields import VARIABLES, Fields
from maelio.benchmarks.peers.task import THREADS, Size, Work, missing

Stored = Literal["none", "lz4"]
Kind = Literal["limit", "maelio", "peer"]
_READERS = Path(__file__).parent / "readers"
ROWS = "rows.f4"  # all values, sample by sample
_COLD_THREADS = 8  # reads in flight, of the limit


@dataclass(frozen=True, slots=True)
class Format:
    """What a script of `readers` writes, where it is not maelio's store or the NetCDF sources."""

    script: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    environment: str | None = None


FORMATS: Mapping[str, Format] = {
    "litdata": Format("by_litdata", environment="streaming"),
    "mds": Format("by_mosaicml", environment="mosaicml"),
    "tar": Format("by_webdataset"),
    "array_record": Format("by_grain", environment="streaming"),
    "zarr-none": Format("by_zarr", {"codec": "none"}),
    "zarr-lz4": Format("by_zarr", {"codec": "lz4"}),
}


@dataclass(frozen=True, slots=True)
class Reader:
    """A script of `readers`, and what it reads: `data` is a folder of the comparison, or `rows`, all values in one file.

    `stored`: how the values are, and so with which limit it is compared. `needs`: modules that maelio does not depend
    on. `environment`: the one in `.venv-peers` that runs it, if not maelio's own. `samples`: of one epoch, where
    all would take too long. `warm`, `cold`: whether it reads what is in memory, and what is on the disk alone.
    """

    script: str
    data: str
    kind: Kind = "peer"
    stored: Stored = "none"
    arguments: Mapping[str, object] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    environment: str | None = None
    samples: int | None = None
    warm: bool = True
    cold: bool = False

    def absent(self, environments: Path) -> str | None:
        """What is not installed, and how to get it; None: all is there."""
        return missing(self.environment, self.needs, environments)


@dataclass(frozen=True, slots=True)
class Goal:
    """`arm` reads at least `least` times as many samples a second as the best of `others`."""

    arm: str
    least: float
    of: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Set:
    """`count` samples of `shape` (variable, *rest), float32, drawn from `dimension`.

    `block`: samples of a chunk, where a format has chunks. `cpu`: the seconds a GB that maelio may take at most, by how
    the values are stored.
    """

    work: Work
    shape: tuple[int, ...]
    count: int
    batch_size: int
    block: int
    dimension: str
    variables: tuple[str, ...]
    readers: Mapping[str, Reader]
    goals: tuple[Goal, ...]
    cpu: Mapping[Stored, float] = field(default_factory=dict)

    @property
    def row_bytes(self) -> int:
        return self.work.bytes // self.count

    def samples(self, reader: Reader) -> int:
        return min(reader.samples or self.count, self.count)


FIELDS = {
    "tiny": Fields(files=2, steps=16, latitudes=64, longitudes=128),
    "small": Fields(files=8, steps=32, latitudes=256, longitudes=512),
    "full": Fields(files=16, steps=32, latitudes=256, longitudes=512),
}
COLUMNS = {
    "tiny": Profiles(files=2, columns=1024),
    "small": Profiles(files=3),
    "full": Profiles(files=12),
}


def fields_set(size: Size) -> Set:
    """Samples (variable, latitude, longitude) of 2 MiB, any of which is read alone."""
    work = FIELDS[size]
    array = {"array": "samples"}
    store = {"array": "fields"}
    readers = {
        "copy limit, mapped": Reader("by_copy", "rows", "limit", arguments={"how": "mapped"}),
        "copy limit, preadv": Reader("by_copy", "rows", "limit", arguments={"how": "preadv"}),
        "disk limit, buffered": Reader(
            "by_copy",
            "rows",
            "limit",
            arguments={"how": "preadv", "threads": _COLD_THREADS},
            warm=False,
            cold=True,
        ),
        "decode limit": Reader("by_decode", "maelio-lz4", "limit", "lz4"),
        "maelio, uncompressed": Reader("by_maelio", "maelio-none", "maelio", cold=True),
        "maelio, lz4": Reader("by_maelio", "maelio-lz4", "maelio", "lz4", cold=True),
        **_pair("LitData", _LITDATA),
        "MosaicML, 2 workers": _MOSAICML,
        **_pair("WebDataset", _WEBDATASET),
        **_pair("zarr-python", Reader("by_zarr", "zarr-none", arguments=array, cold=True)),
        **_pair("zarrs", replace(_ZARRS, data="zarr-none", arguments={**array, **_ZARRS.arguments})),
        "tensorstore": replace(_TENSORSTORE, data="zarr-none", arguments=array, cold=True),
        **_pair("xbatcher", _XBATCHER),
        "insitubatch": replace(_INSITUBATCH, cold=True),
        "insitubatch, cached": replace(_INSITUBATCH, arguments={"cached": True}),
        "Grain": _GRAIN,
        "xarray over NetCDF": Reader("by_xarray", "source", samples=32),
        **_pair(
            "zarr-python, lz4", Reader("by_zarr", "maelio-lz4", stored="lz4", arguments=store, cold=True)
        ),
        **_pair(
            "zarrs, lz4",
            replace(_ZARRS, data="maelio-lz4", stored="lz4", arguments={**store, **_ZARRS.arguments}),
        ),
        "tensorstore, lz4": replace(_TENSORSTORE, data="maelio-lz4", stored="lz4", arguments=store),
        "insitubatch, lz4": replace(_INSITUBATCH, data="zarr-lz4", stored="lz4"),
    }
    raw, lz4 = "maelio, uncompressed", "maelio, lz4"
    best = ("LitData", "MosaicML", "WebDataset", "zarr-python", "zarrs", "tensorstore", "xbatcher")
    goals = (
        Goal(raw, 0.85, "the copy limit", ("copy limit, mapped", "copy limit, preadv")),
        Goal(raw, 10, "the best peer", tuple(name for name in readers if name.split(",")[0] in best)),
        Goal(raw, 2, "insitubatch with its cache full", ("insitubatch, cached",)),
        Goal(lz4, 0.75, "the decode limit", ("decode limit",)),
        Goal(
            lz4,
            4,
            "the best peer on compressed data",
            tuple(
                name for name, reader in readers.items() if reader.stored == "lz4" and reader.kind == "peer"
            ),
        ),
    )
    return Set(
        work,
        shape=(len(VARIABLES), work.latitudes, work.longitudes),
        count=work.files * work.steps,
        batch_size=16,
        block=1,
        dimension="time",
        variables=tuple(VARIABLES),
        readers=readers,
        goals=goals,
        cpu={"none": 0.2, "lz4": 0.3},
    )


def columns_set(size: Size) -> Set:
    """Samples (variable, level) of 5.5 kB, which are read in blocks, or one by one by what knows no blocks."""
    work = COLUMNS[size]
    some, few = 20480, 1024
    threads = {"1 thread": 1, "2 threads": 2}
    readers = {
        **{
            f"index_select, {name}": Reader("by_index_select", "rows", "limit", arguments={"threads": number})
            for name, number in threads.items()
        },
        "maelio, uncompressed": Reader("by_maelio", "maelio-none", "maelio"),
        "maelio, lz4": Reader("by_maelio", "maelio-lz4", "maelio", "lz4"),
        **_pair("LitData", replace(_LITDATA, samples=some)),
        "MosaicML, 2 workers": replace(_MOSAICML, samples=some),
        **_pair("WebDataset", replace(_WEBDATASET, samples=some)),
        "zarr-python, in process": Reader(
            "by_zarr", "zarr-none", arguments={"array": "samples"}, samples=few
        ),
        "tensorstore": replace(_TENSORSTORE, data="zarr-none", arguments={"array": "samples"}, samples=few),
        **_pair("xbatcher", replace(_XBATCHER, samples=few)),
        "insitubatch": _INSITUBATCH,
        "insitubatch, cached": replace(_INSITUBATCH, arguments={"cached": True}),
        "Grain": replace(_GRAIN, samples=some),
        "xarray over NetCDF": Reader("by_xarray", "source", samples=128),
    }
    streaming = tuple(name for name in readers if name.split(",")[0] in ("LitData", "MosaicML", "WebDataset"))
    goals = tuple(
        goal
        for arm in ("maelio, uncompressed", "maelio, lz4")
        for goal in (
            Goal(arm, 0.55, "torch.index_select", ("index_select, 1 thread",)),
            Goal(arm, 100, "the best streaming peer", streaming),
        )
    )
    return Set(
        work,
        shape=(len(PROFILE_NAMES), PROFILES["level"]),
        count=work.files * work.columns,
        batch_size=1024,
        block=256,
        dimension="column",
        variables=PROFILE_NAMES,
        readers=readers,
        goals=goals,
    )


SETS: Mapping[str, Callable[[Size], Set]] = {"fields": fields_set, "columns": columns_set}


def cold(task: Set) -> Set:
    """The arms that have something to read from a disk."""
    readers = {name: reader for name, reader in task.readers.items() if reader.cold}
    raw, lz4 = "maelio, uncompressed", "maelio, lz4"
    goals = (
        Goal(raw, 0.95, "the buffered disk limit", ("disk limit, buffered",)),
        Goal(lz4, 1, "the same uncompressed", (raw,)),
    )
    return replace(task, readers=readers, goals=goals, cpu={})


def warm(task: Set) -> Set:
    """The arms that have something to read from memory."""
    readers = {name: reader for name, reader in task.readers.items() if reader.warm}
    return replace(task, readers=readers)


def command(
    reader: Reader | Format, what: str, folder: Path, given: Mapping[str, object], environments: Path
) -> list[str]:
    """`what`: write or read."""
    how = [sys.executable, "-m", f"{__package__}.readers.serve"]
    if reader.environment:
        python = environments / reader.environment / "bin" / "python"
        how = [str(python), "-P", str(_READERS / "serve.py")]
    return [*how, reader.script, what, str(folder.absolute()), json.dumps(given)]


def given_to(task: Set, reader: Reader | Format, folder: Path, samples: int) -> dict[str, object]:
    """What a script is told."""
    common = {
        "rows": str((folder / ROWS).absolute()),
        "all": (task.count, *task.shape),
        "samples": samples,
        "row_bytes": task.row_bytes,
        "batch_size": task.batch_size,
        "block": task.block,
        "threads": THREADS,
        "workers": THREADS,
        "cached": False,
        "dimension": task.dimension,
        "variables": task.variables,
        "modules": reader.needs if isinstance(reader, Reader) else (),
    }
    return {**common, **reader.arguments}


_LITDATA = Reader("by_litdata", "litdata", needs=("litdata",), environment="streaming", cold=True)
_MOSAICML = Reader("by_mosaicml", "mds", needs=("streaming",), environment="mosaicml", cold=True)
_WEBDATASET = Reader("by_webdataset", "tar", needs=("webdataset",), cold=True)
_ZARRS = Reader("by_zarr", "", arguments={"pipeline": "zarrs"}, needs=("zarrs",), environment="streaming")
_TENSORSTORE = Reader("by_tensorstore", "", needs=("tensorstore",))
_XBATCHER = Reader("by_xbatcher", "zarr-none", needs=("xbatcher",), environment="streaming")
_INSITUBATCH = Reader("by_insitubatch", "zarr-none", needs=("insitubatch",), environment="insitubatch")
_GRAIN = Reader("by_grain", "array_record", needs=("grain",), environment="streaming")


def _pair(name: str, reader: Reader) -> dict[str, Reader]:
    """With workers and without: which is faster differs from peer to peer, and the better one counts."""
    alone = replace(reader, arguments={**reader.arguments, "workers": 0}, cold=False)
    return {f"{name}, 2 workers": reader, f"{name}, in process": alone}

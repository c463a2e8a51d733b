"""The run record: what ran, on what, how long, how well. A file first; databases read it later."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from maelio.environment import Environment, environment
from maelio.errors import BadData, NotFound
from maelio.files import write_atomically
from maelio.ledger import Times

RECORD = "record.json"


class Reference(BaseModel):
    """Data that went in or came out, by place and content. `digest` is `algorithm:hexadecimal`."""

    model_config = ConfigDict(frozen=True)

    uri: str
    digest: str


class RunRecord(BaseModel):
    """One run. Keys carry SI units (`_s`, `_K`, `_bytes`); null means not measured.

    `arms` holds the measured epochs of each way that was compared, in order, the first epoch first.
    `clock` says how compute was timed: `host` is only right where the device is the CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    run: str
    name: str
    started: datetime
    wall_s: float
    clock: Literal["host"] = "host"
    environment: Environment
    parameters: dict[str, JsonValue]
    inputs: tuple[Reference, ...]
    metrics: dict[str, float]
    arms: dict[str, tuple[Times, ...]]
    outputs: tuple[str, ...] = ()


def new_run(name: str, now: datetime | None = None) -> str:
    """An id that sorts by time and is unique: `20261123T120000Z-name-1f2e3d`."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    return f"{stamp}-{name}-{secrets.token_hex(3)}"


def record_of(
    name: str,
    arms: Mapping[str, Sequence[Times]],
    *,
    parameters: Mapping[str, JsonValue] | None = None,
    inputs: Sequence[Reference] = (),
) -> RunRecord:
    """The record of measured epochs of anybody's training, by arm: `record_of("mine", {"train": [ledger.times]})`.

    Of the `parameters`, reports know `dataset`, and `threads`, those of the loader.
    """
    now = datetime.now(UTC)
    wall_s = sum(times.wall_s for epochs in arms.values() for times in epochs)
    return RunRecord(
        run=new_run(name, now),
        name=name,
        started=now - timedelta(seconds=wall_s),
        wall_s=wall_s,
        environment=environment(),
        parameters=dict(parameters or {}),
        inputs=tuple(inputs),
        metrics={},
        arms={arm: tuple(epochs) for arm, epochs in arms.items()},
    )


def write_record(record: RunRecord, runs: Path) -> Path:
    """Write `runs/<run>/record.json` as a whole or not at all; returns the run's folder."""
    folder = runs / record.run
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECORD, record.model_dump_json(indent=1).encode())
    return folder


def read_record(folder: Path) -> RunRecord:
    """Raises NotFound: no record there. BadData: not a record of this format."""
    path = folder / RECORD
    try:
        return RunRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{path}: no such run record") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BadData(f"{path} is not a run record: {place}: {first['msg']}") from error


def all_records(runs: Path) -> Iterator[RunRecord]:
    """Every record below `runs`, the oldest first."""
    for path in sorted(runs.glob(f"*/{RECORD}")):
        yield read_record(path.parent)

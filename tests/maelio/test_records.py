"""Run records: files first, whole or refused."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.environment import Environment
from maelio.errors import BadData, NotFound
from maelio.ledger import Times, Work
from maelio.records import RECORD, Reference, RunRecord, all_records, new_run, read_record, write_record

ENVIRONMENT = Environment(
    host="here",
    system="Linux",
    python="3.11.2",
    processor=None,
    cores=2,
    memory_bytes=2**34,
    gpus=(),
    packages={"maelio": "0.1.0", "prefect": None},
)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
SECONDS = st.floats(0, 1e6)
TIMES = st.builds(
    Times,
    wall_s=st.floats(1e-9, 1e6),
    regions_s=st.dictionaries(st.sampled_from(["wait", "forward", "other"]), SECONDS),
    steps=st.integers(0, 10**6),
    samples=st.integers(0, 10**9),
    work=st.none() | st.builds(Work, fetch_s=SECONDS, stored_bytes=st.integers(0, 2**50)),
)
RECORDS = st.builds(
    RunRecord,
    run=MOMENTS.map(lambda moment: new_run("law", moment)),
    name=st.text(),
    started=MOMENTS,
    wall_s=SECONDS,
    environment=st.just(ENVIRONMENT),
    parameters=st.dictionaries(st.text(), st.none() | st.integers() | st.text()),
    inputs=st.tuples(st.builds(Reference, uri=st.text(), digest=st.text())),
    metrics=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
    arms=st.dictionaries(st.text(), st.tuples(TIMES)),
)


def record(run: str) -> RunRecord:
    return RunRecord(
        run=run,
        name="test",
        started=datetime(2026, 11, 23, tzinfo=UTC),
        wall_s=1.5,
        environment=ENVIRONMENT,
        parameters={"epochs": 2},
        inputs=(Reference(uri="store.zarr", digest="crc32c:00000000"),),
        metrics={"rmse_K": 0.5, "persistence_rmse_K": 0.7, "mean_rmse_K": 0.6, "test_samples": 237.0},
        arms={},
    )


@given(RECORDS)
def test_a_record_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, written: RunRecord
) -> None:
    folder = write_record(written, tmp_path_factory.mktemp("runs"))
    assert read_record(folder) == written


@given(st.lists(MOMENTS, min_size=2, max_size=10))
def test_ids_sort_by_time_and_none_comes_twice(moments: list[datetime]) -> None:
    ids = [new_run("law", moment) for moment in sorted(moments)]
    stamps = [run.split("-")[0] for run in ids]
    assert stamps == sorted(stamps)
    assert len(set(ids)) == len(ids)


def test_two_runs_of_one_second_have_two_ids() -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert len({new_run("twin", now) for _ in range(100)}) == 100


def test_records_come_the_oldest_first(tmp_path: Path) -> None:
    start = datetime(2026, 11, 23, tzinfo=UTC)
    runs = [new_run("day", start + timedelta(days=day)) for day in (2, 0, 1)]
    for run in runs:
        write_record(record(run), tmp_path)
    assert [found.run for found in all_records(tmp_path)] == sorted(runs)


def test_no_runs_folder_holds_no_records(tmp_path: Path) -> None:
    assert list(all_records(tmp_path / "runs")) == []


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_a_half_written_record_is_refused_by_name(tmp_path: Path, kept: int) -> None:
    folder = write_record(record("half"), tmp_path)
    (folder / RECORD).write_bytes((folder / RECORD).read_bytes()[:kept])
    with pytest.raises(BadData, match=r"half/record\.json is not a run record"):
        read_record(folder)


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    folder = write_record(record("later"), tmp_path)
    text = (folder / RECORD).read_text()
    (folder / RECORD).write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(BadData, match="format"):
        read_record(folder)


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere/record\.json"):
        read_record(tmp_path / "nowhere")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_that_json_does_not_have_is_never_read_as_another(tmp_path: Path, value: float) -> None:
    """It comes back as what it was, or the record is refused."""
    written = record("odd").model_copy(update={"metrics": {"rmse_K": value}})
    try:
        found = read_record(write_record(written, tmp_path)).metrics["rmse_K"]
    except BadData:
        return
    assert repr(found) == repr(value)

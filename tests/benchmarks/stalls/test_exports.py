"""What other tools read of a run."""

import csv
import io
import json
import re

import pytest

from maelio.benchmarks.stalls.exports import to_csv, to_jube, to_mlperf
from maelio.benchmarks.stalls.figures import rows_of
from maelio.benchmarks.stalls.table import table
from maelio.errors import BadRequest
from tests.benchmarks.stalls.lines import record_of, timed

LINES = [
    *timed({"null": [0.6, 0.7], "cold": [1.0, 2.0]}),
    *timed({"null": [0.6, 0.7], "cold": [0.8, 0.8]}, 2),
]
RECORD = record_of(LINES)


def test_the_summary_has_the_keys_of_dlio_and_its_arithmetic() -> None:
    """Ten steps of four samples; the first of them is left out, and one more of the samples."""
    found = json.loads(to_mlperf(RECORD, LINES, "netcdf", "cold", 2))
    metric = found["metric"]
    rates = [8 * 4 / (0.9 * 2.0), 8 * 4 / (0.9 * 0.8)]
    assert metric["train_au_percentage"] == pytest.approx([25.0, 62.5])
    assert metric["train_au_mean_percentage"] == pytest.approx(43.75)
    assert metric["train_au_meet_expectation"] == "fail"
    assert metric["train_throughput_samples_per_second"] == pytest.approx(rates)
    assert metric["train_io_mean_MB_per_second"] == pytest.approx(sum(rates) / 2 / 40)
    assert found["num_accelerators"] == 1
    assert found["num_files_train"] == 2
    assert found["num_samples_per_file"] == 20
    assert found["epochs"] == 2
    assert found["maelio"]["compute"] == "emulated"


def test_what_dlio_has_no_formula_for_is_refused() -> None:
    with pytest.raises(
        BadRequest, match="no epochs of netcdf/warm, repeat 1; there are netcdf/null, netcdf/cold"
    ):
        to_mlperf(RECORD, LINES, None, "warm", 1)
    loaded = timed({"load-only": [1.0]})
    with pytest.raises(BadRequest, match=r"netcdf/load-only has no AU of DLIO; wanted compute, and 3 steps"):
        to_mlperf(record_of(loaded), loaded, None, "load-only", 1)


def test_the_table_of_jube_has_a_line_for_every_epoch_of_every_arm() -> None:
    title, head, rule, *rows = to_jube(RECORD, LINES).splitlines()
    names = [cell.strip() for cell in head.strip("|").split("|")]
    cells = [
        dict(zip(names, (cell.strip() for cell in row.strip("|").split("|")), strict=True)) for row in rows
    ]
    assert title == "result:"
    assert set(rule) == {"|", "-"}
    assert len({len(line) for line in (head, rule, *rows)}) == 1
    assert [(row["arm"], row["epoch"], float(row["EPOCH"])) for row in cells] == [
        ("null", "1", 0.65),
        ("null", "2", 0.65),
        ("cold", "1", 1.5),
        ("cold", "2", 0.8),
    ]
    for row in cells:
        parts = sum(float(row[name]) for name in ("IO", "FORWARD", "BACKWARD", "COMM", "OTHER"))
        assert parts == pytest.approx(float(row["EPOCH"]), abs=1e-5)
        assert row["compute"] == "emulated"


def test_csv_has_a_line_for_every_measured_epoch() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(RECORD, LINES))))
    assert len(rows) == len(LINES)
    assert {(row["arm"], row["repeat"], row["epoch"]) for row in rows} == {
        (line.arm, str(line.repeat), str(line.epoch)) for line in LINES
    }
    assert float(rows[0]["wait_s"]) + float(rows[0]["compute_s"]) == pytest.approx(float(rows[0]["wall_s"]))


def test_the_table_shows_every_value_and_says_what_is_emulated() -> None:
    told = table(record_of(LINES, invalid={"netcdf/warm": "netcdf/warm: why"}), rows_of(LINES))
    assert "compute emulated: 50 ms a step" in told
    assert re.search(r"^cold +1 .* 1\.000 2\.000$", told, re.MULTILINE)
    assert re.search(r"^cold +2 .* 0\.800 0\.800$", told, re.MULTILINE)
    assert "INVALID: netcdf/warm: why" in told
    assert "no arm has figures" in table(RECORD, ())

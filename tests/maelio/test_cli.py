"""The command line: exit codes, one line for what was expected, JSON that is JSON."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from math import inf, nan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio import __version__, errors
from maelio.cli import main, stores
from maelio.cli.output import columns, finite
from maelio.cli.progress import EVERY_S, Lines, describe
from maelio.converters.convert import Progress
from maelio.records import write_record
from maelio.store import Statistics
from tests.maelio.test_records import record

Capture = pytest.CaptureFixture[str]

HEAVY = {
    "torch",
    "xarray",
    "zarr",
    "numpy",
    "pandas",
    "prefect",
    "climetlab",
    "dask",
    "h5py",
    "matplotlib",
    "pydantic",
}


def maelio(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from maelio.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from maelio.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "convert" in run.stdout
    assert not HEAVY & set(run.stderr.split())


def test_the_version_is_told(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"maelio {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["stir"],
        ["convert"],
        ["convert", "only-one"],
        ["convert", "a.nc", "b.zarr", "--codec", "gzip"],
        ["convert", "a.nc", "b.zarr", "--threads", "many"],
        ["flow", "run", "nothing"],
        ["runs"],
        ["verify"],
    ],
)
def test_wrong_usage_ends_with_2_and_names_no_traceback(arguments: list[str], capsys: Capture) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "Usage: maelio" in captured.out + captured.err
    assert "Traceback" not in captured.err


def raising(error: BaseException) -> Callable[..., None]:
    def command(*_: object, **__: object) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.MaelioError("a.nc: found 3"), 1, "a.nc: found 3"),
        (errors.BadRequest("a.nc: found 3"), 2, "a.nc: found 3"),
        (errors.NotFound("a.nc: found 3"), 3, "a.nc: found 3"),
        (errors.NotPermitted("a.nc: found 3"), 4, "a.nc: found 3"),
        (errors.BadSetting("two\nlines"), 5, "two lines"),
        (errors.Missing("flows need Prefect"), 5, "flows need Prefect"),
        (errors.Inconsistent("a.nc: found 3"), 6, "a.nc: found 3"),
        (errors.InvalidMeasurement("cold was warm"), 9, "cold was warm"),
        (PermissionError(errno.EACCES, "Permission denied", "a.nc"), 4, "a.nc: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device", "b"), 1, "b: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("go on"), 130, "interrupted; go on"),
    ],
)
def test_what_is_expected_to_fail_is_one_line_and_its_code(
    error: BaseException, code: int, line: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maelio.store.open_store", raising(error))
    assert main(["inspect", "store.zarr"]) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"maelio: {line}\n")


@pytest.mark.parametrize("error", [ZeroDivisionError("a fault"), OSError("from deep inside a C library")])
def test_a_fault_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maelio.store.open_store", raising(error))
    with pytest.raises(type(error), match=str(error)):
        main(["inspect", "store.zarr"])


def test_a_process_ends_with_the_code_and_the_line() -> None:
    run = maelio("inspect", "no-such-store.zarr")
    assert (run.returncode, run.stdout) == (3, "")
    assert run.stderr == "maelio: no-such-store.zarr: no such store\n"


def test_a_bad_setting_ends_with_5() -> None:
    run = maelio("runs", "ls", MAELIO_THREADS="none")
    assert run.returncode == 5
    assert run.stderr.startswith("maelio: setting 'threads' = 'none'")
    assert run.stderr.count("\n") == 1


def test_a_reader_that_leaves_early_hears_no_complaint() -> None:
    code = "import sys; from maelio.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "doctor", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_prefect_missing_is_one_line_that_says_how_to_get_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['prefect'] = None; from maelio.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "flow", "run", "pipeline", "--folder", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (5, "")
    assert run.stderr.startswith("maelio: Prefect is not installed")
    assert run.stderr.endswith('pip install "maelio[flows]"\n')


@pytest.fixture(scope="module")
def store(hadgem: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stores") / "a1b.zarr"
    assert main(["convert", str(hadgem / "A1B_north_america.nc"), str(path)]) == 0
    return path


class TestStores:
    """On a real file, from the source to the verdict."""

    def test_convert_says_what_it_made(self, hadgem: Path, tmp_path: Path, capsys: Capture) -> None:
        source, target = str(hadgem / "A1B_north_america.nc"), str(tmp_path / "a.zarr")
        assert main(["convert", source, target, "--codec", "zstd", "--json"]) == 0
        captured = capsys.readouterr()
        made = json.loads(captured.out)
        assert (made["samples"], made["variables"]) == (240, ["air_temperature"])
        assert made["stored_bytes"] < made["decoded_bytes"] == 240 * 37 * 49 * 4
        assert captured.err == ""

    def test_a_dry_run_writes_nothing(self, hadgem: Path, tmp_path: Path, capsys: Capture) -> None:
        source, target = str(hadgem / "A1B_north_america.nc"), tmp_path / "a.zarr"
        assert main(["convert", source, str(target), "--dry-run"]) == 0
        assert "240 samples" in capsys.readouterr().out
        assert main(["convert", source, str(target), "--dry-run", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["samples"] == 240
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("more", "code", "says"),
        [
            (["--memory", "foo"], 2, "'foo' is not a size"),
            (["--variables", "tas"], 2, "'tas'"),
            (["--samples", "depth"], 2, "'depth'"),
            (["--threads", "0"], 2, "threads"),
        ],
    )
    def test_a_request_that_cannot_be_met_is_refused(
        self, more: list[str], code: int, says: str, hadgem: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        source = str(hadgem / "A1B_north_america.nc")
        assert main(["convert", source, str(tmp_path / "a.zarr"), *more]) == code
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1

    def test_a_target_that_exists_is_kept(self, store: Path, hadgem: Path, capsys: Capture) -> None:
        assert main(["convert", str(hadgem / "A1B_north_america.nc"), str(store)]) == 2
        assert "--overwrite" in capsys.readouterr().err

    def test_inspect_tells_shape_unit_and_statistics(self, store: Path, capsys: Capture) -> None:
        assert main(["inspect", str(store)]) == 0
        text = capsys.readouterr().out
        assert "air_temperature" in text
        assert main(["inspect", str(store), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        (array,) = found["arrays"].values()
        assert array["shape"] == [240, 1, 37, 49]
        variable = array["variables"]["air_temperature"]
        assert variable["units"] == "K"
        assert 200 < variable["statistics"]["mean"][0] < 320

    @pytest.mark.parametrize("form", ["tar", "tfrecord"])
    def test_other_formats_are_written_inspected_and_verified(
        self, hadgem: Path, tmp_path: Path, capsys: Capture, form: str
    ) -> None:
        source, target = str(hadgem / "A1B_north_america.nc"), tmp_path / "store"
        convert = ["convert", source, str(target), "--format", form]
        assert main([*convert, "--dry-run", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["format"] == form
        assert main(convert) == 0
        assert (target / f"fields-000000.{form}").exists()
        capsys.readouterr()
        assert main(["inspect", str(target)]) == 0
        assert f"1 {form} shard(s) of 256 samples" in capsys.readouterr().out
        assert main(["inspect", str(target), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["container"] == form
        assert main(["verify", str(target)]) == 0
        index = target / "fields-000000.index"
        index.write_bytes(index.read_bytes()[:-1])
        assert main(["verify", str(target)]) == 6
        assert f"{index}: " in capsys.readouterr().out

    def test_verify_ends_with_6_and_names_the_damaged_file(
        self, hadgem: Path, tmp_path: Path, capsys: Capture
    ) -> None:
        target = tmp_path / "a.zarr"
        main(["convert", str(hadgem / "A1B_north_america.nc"), str(target)])
        assert main(["verify", str(target)]) == 0
        shard = next(path for path in (target / "fields" / "c").rglob("*") if path.is_file())
        shard.write_bytes(shard.read_bytes()[:-1])
        capsys.readouterr()
        assert main(["verify", str(target)]) == 6
        assert capsys.readouterr().out.startswith(f"{shard}: ")
        assert main(["verify", str(target), "--json"]) == 6
        assert json.loads(capsys.readouterr().out)["damages"][0]["file"] == str(shard)


class TestRuns:
    @pytest.fixture
    def runs(self, tmp_path: Path) -> Path:
        for run in ("20261123T000000Z-b-000000", "20261122T000000Z-a-000000"):
            write_record(record(run), tmp_path)
        return tmp_path

    def test_ls_lists_the_oldest_first(self, runs: Path, capsys: Capture) -> None:
        assert main(["runs", "ls", "--runs", str(runs)]) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
            "20261122T000000Z-a-000000",
            "20261123T000000Z-b-000000",
        ]

    def test_ls_lists_the_others_where_one_is_damaged(self, runs: Path, capsys: Capture) -> None:
        (runs / "20261122T000000Z-a-000000" / "record.json").write_text("{")
        assert main(["runs", "ls", "--runs", str(runs), "--json"]) == 6
        captured = capsys.readouterr()
        found = json.loads(captured.out)
        assert [record["run"] for record in found["runs"]] == ["20261123T000000Z-b-000000"]
        assert len(found["damaged"]) == 1
        assert "20261122T000000Z-a-000000" in captured.err

    def test_no_runs_are_no_error(self, tmp_path: Path, capsys: Capture) -> None:
        assert main(["runs", "ls", "--runs", str(tmp_path / "none")]) == 0
        assert capsys.readouterr().out == ""

    def test_show_takes_an_id_or_a_folder(self, runs: Path, capsys: Capture) -> None:
        run = "20261122T000000Z-a-000000"
        assert main(["runs", "show", run, "--runs", str(runs), "--json"]) == 0
        by_id = json.loads(capsys.readouterr().out)
        assert main(["runs", "show", str(runs / run), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == by_id
        assert by_id["metrics"]["rmse_K"] == 0.5

    def test_show_prints_a_summary(self, runs: Path, capsys: Capture) -> None:
        assert main(["runs", "show", "20261122T000000Z-a-000000", "--runs", str(runs)]) == 0
        assert "RMSE 0.500 K" in capsys.readouterr().out

    def test_a_run_that_is_not_there_ends_with_3(self, runs: Path) -> None:
        assert main(["runs", "show", "nothing", "--runs", str(runs)]) == 3


def test_the_doctor_gives_one_json_document(capsys: Capture) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["environment"]["packages"]["maelio"] == __version__
    assert report["folders"]["cache"]["free_bytes"] > 0


def test_the_doctor_ends_with_5_where_a_setting_is_broken(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAELIO_THREADS", "none")
    assert main(["doctor"]) == 5
    assert "threads" in capsys.readouterr().out


@given(st.lists(st.tuples(st.text("ab "), st.text("cd ")), min_size=1))
def test_columns_begin_at_one_place_and_lose_no_text(rows: list[tuple[str, str]]) -> None:
    at = max(len(first) for first, _ in rows) + 2
    lines = columns(rows).split("\n")
    for (first, second), line in zip(rows, lines, strict=True):
        assert line[:at].rstrip() == first.rstrip()
        assert line[at:].rstrip() == second.rstrip()


@given(
    st.recursive(
        st.floats() | st.text() | st.none() | st.integers(),
        lambda part: st.lists(part) | st.dictionaries(st.text(), part),
    )
)
def test_any_document_is_json_once_it_is_finite(document: object) -> None:
    json.loads(json.dumps(finite(document), allow_nan=False))


def test_unknown_figures_are_null() -> None:
    assert finite({"mean": (nan, -inf, 1.5)}) == {"mean": [None, None, 1.5]}


def test_lines_come_when_their_time_has_passed_and_not_before() -> None:
    now = 0.0
    lines: list[str] = []
    show = Lines(lines.append, clock=lambda: now)
    counts = []
    for now in (0.0, EVERY_S / 2, EVERY_S, EVERY_S + 1, 2 * EVERY_S):  # noqa: B007 - the clock reads it
        show(Progress(2, 4, 2 * 10**9, 4 * 10**9, 1, 10**9))
        counts.append(len(lines))
    assert counts == [0, 0, 1, 1, 2]
    assert lines == [
        "2 of 4 regions, 2.0 of 4.0 GB, 1 from an earlier run, 33.3 MB/s, 1 min 0 s left",
        "2 of 4 regions, 2.0 of 4.0 GB, 1 from an earlier run, 16.7 MB/s, 2 min 0 s left",
    ]


@pytest.mark.parametrize(
    ("progress", "elapsed_s", "line"),
    [
        (
            Progress(12, 96, 8 * 10**8, 61 * 10**8, 0, 0),
            2.58,
            "12 of 96 regions, 0.8 of 6.1 GB, 310 MB/s, 17 s left",
        ),
        (Progress(0, 3, 0, 3000, 0, 0), 9.0, "0 of 3 regions, 0.0 of 3.0 kB"),
        (Progress(1, 3, 1000, 3000, 1, 1000), 9.0, "1 of 3 regions, 1.0 of 3.0 kB, 1 from an earlier run"),
        (Progress(1, 2, 10, 20, 0, 0), 10000.0, "1 of 2 regions, 10.0 of 20.0 B, 0.001 B/s, 2 h 46 min left"),
    ],
)
def test_a_line_tells_the_rate_and_the_time_left(progress: Progress, elapsed_s: float, line: str) -> None:
    assert describe(progress, elapsed_s) == line


@given(st.integers(1, 10**9), st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0.1, 1e5))
def test_bytes_of_an_earlier_run_do_not_count_in_the_rate(
    here: int, left: int, resumed: int, elapsed_s: float
) -> None:
    """Rate and time left are those of a run that starts with what this one found to do."""
    fresh = Progress(1, 2, here, here + left, 0, 0)
    later = Progress(2, 3, here + resumed, here + left + resumed, 1, resumed)
    pace = ", ".join(describe(fresh, elapsed_s).split(", ")[2:])
    assert describe(later, elapsed_s).endswith(f"from an earlier run, {pace}")


values = st.lists(st.lists(st.floats(180, 330), max_size=5), min_size=1, max_size=4)


@given(values)
def test_statistics_of_all_levels_are_those_of_all_values(levels: list[list[float]]) -> None:
    import numpy as np

    def of(level: list[float], function: Callable[[list[float]], float]) -> float:
        return float(function(level)) if level else nan

    statistics = Statistics(
        count=tuple(len(level) for level in levels),
        missing=tuple(0 for _ in levels),
        min=tuple(of(level, min) for level in levels),
        max=tuple(of(level, max) for level in levels),
        mean=tuple(of(level, np.mean) for level in levels),
        std=tuple(of(level, np.std) for level in levels),
    )
    flat = [value for level in levels for value in level]
    wanted = [of(flat, function) for function in (min, np.mean, max, np.std)]
    np.testing.assert_allclose(stores.pooled(statistics), wanted, rtol=0, atol=1e-9)

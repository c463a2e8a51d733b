"""The comparison of caches runs, at sizes that prove nothing but that it runs."""

import re
from pathlib import Path

import pytest

from maelio.benchmarks.peers import fetch
from maelio.errors import InvalidMeasurement


@pytest.mark.slow
def test_caches_are_compared_on_what_the_server_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each, with a limit on connections and without."""
    assert fetch.main([str(tmp_path), "--size", "tiny", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"^maelio .* 1\.00x", printed, re.MULTILINE)) == 2
    assert len(re.findall(r"^CliMetLab .*x", printed, re.MULTILINE)) == 2


def test_a_file_that_is_not_the_server_s_is_found(tmp_path: Path) -> None:
    """No speed is given for it."""
    task = fetch.SIZES["tiny"][1]
    fetch.make(tmp_path / "web", [task])
    with (
        fetch.served(tmp_path / "web", None) as base,
        pytest.raises(InvalidMeasurement, match="maelio did not give what the server has"),
    ):
        fetch.run("maelio", base, task, dict.fromkeys(task.files, ""), tmp_path)

"""The report: a function of the record, with every number in it, in one file that needs nothing else."""

import base64
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from maelio.benchmarks.page import to_page
from maelio.benchmarks.plot import to_plot
from maelio.benchmarks.report import print_summary, write_report
from maelio.benchmarks.words import to_markdown
from maelio.energy import Energy
from maelio.records import RunRecord
from tests.benchmarks.records import some_record, some_times

CHROMIUM = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.mark.parametrize("made", [to_markdown, to_page, to_plot])
def test_the_report_is_a_function_of_the_record(made: Callable[[RunRecord], str | bytes]) -> None:
    """Also after the record went through its file."""
    record = some_record()
    again = RunRecord.model_validate_json(record.model_dump_json())
    assert made(record) == made(again)


def test_every_number_is_there() -> None:
    text = to_markdown(some_record())
    assert "| **0.765 K** |" in text
    assert "| 0.888 K | -13.8 % |" in text
    assert "97 windows of scenario A1B" in text
    assert "140 windows with years that are also in the training data" in text
    assert "| naive | 1 | 0.500 | 474 | 40.0 % | 4.0 % | 54.0 % | 2.0 % |" in text
    assert "| maelio | 2 | 0.0123 | 0.0456 | 1.0 MiB | 7.0 MiB |" in text
    assert "**1.55 times** the samples per second" in text
    assert "**25.0 ms** an epoch for data against **210.0 ms** (8.4 times less)" in text
    assert "naive, maelio, maelio, naive" in text
    for entry in ("crc32c:0badcafe", "node&lt;1&gt;", "A &#124; B &#42;C&#42;", "torch 2.13.0"):
        assert entry in text
    assert "prefect" not in text  # not installed there


def test_epochs_that_do_not_repeat_are_called_noisy() -> None:
    record = some_record()
    loud = record.model_copy(update={"arms": {"naive": (some_times(0.5, 0.2), some_times(0.6, 0.2))}})
    assert "noisy" not in to_markdown(record)
    assert "noisy: epochs of one arm differ by up to 18 % in wall time" in to_markdown(loud)


def test_energy_is_shown_by_meter_or_said_to_be_unknown() -> None:
    """Joules by the counter and by the trace apart, what was used while waiting, and what is wrong with a meter."""
    record = some_record()
    assert "Energy: not known" in to_markdown(record)
    device = Energy(
        name="H100 0",
        scope="gpu",
        seconds=0.5,
        readings=7,
        joules=118.5,
        traced_j=119.25,
        regions_j={"wait": 47.4},
    )
    lost = Energy(name="H100 1", scope="gpu", seconds=0.5, readings=2, note="lost after 0.2 s: GPU is lost")
    measured = some_times(0.5, 0.2).model_copy(update={"energy": (device, lost)})
    text = to_markdown(record.model_copy(update={"arms": {"maelio": (measured,)}}))
    assert "| maelio | 1 | H100 0 (gpu) | 118.5 | 119.2 | 47.4 | 0.5 |  |" in text
    assert "| maelio | 1 | H100 1 (gpu) |  |  |  |  | lost after 0.2 s: GPU is lost |" in text


def test_a_record_without_skill_or_arms_has_a_report_too() -> None:
    bare = some_record().model_copy(update={"metrics": {}, "arms": {}})
    assert "What ran" in to_markdown(bare)
    print_summary(bare, Console(quiet=True))


def test_the_page_needs_nothing_beside_it() -> None:
    page = to_page(some_record())
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 1
    picture = base64.b64decode(sources[0].removeprefix("data:image/png;base64,"), validate=True)
    assert picture == to_plot(some_record())
    assert not re.search(r"https?:|url\(|@import|<script", page)


def test_the_files_are_written(tmp_path: Path) -> None:
    files = write_report(some_record(), tmp_path / "runs" / "one")
    assert sorted(file.name for file in files) == ["plot.png", "report.html", "report.md"]
    assert all(file.stat().st_size > 1000 for file in files)


def test_the_summary_says_the_main_things_and_where_the_report_lies() -> None:
    console = Console(width=100)
    with console.capture() as captured:
        print_summary(some_record(), console)
    text = captured.get()
    for entry in ("RMSE 0.765 K, persistence 0.888 K (-13.8 %)", "729 samples/s, naive 469 (1.55 times)",
                  "waiting for data 25.0 ms an epoch, naive 210.0 ms", "runs/1/report.html"):  # fmt: skip
        assert entry in text


def test_the_page_renders_in_a_browser(needs: Callable[[str], str], tmp_path: Path) -> None:
    """The picture has its size, and no table is wider than the page."""
    page = to_page(some_record()).replace(
        "</body>",
        "<script>onload = () => { const i = document.querySelector('img');"
        "document.body.dataset.seen = [i.naturalWidth, i.clientWidth, i.clientHeight,"
        " document.documentElement.scrollWidth - innerWidth].join(' ') }</script></body>",
    )
    file = tmp_path / "report.html"
    file.write_text(page)
    command = [
        needs("chromium"),
        *CHROMIUM,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        file.as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-seen="(\d+) (\d+) (\d+) (-?\d+)"', run.stdout)
    assert found, run.stderr
    natural, width, height, overhang = map(int, found.groups())
    assert natural > 1000
    assert width > 300
    assert height > 100
    assert overhang <= 0

"""The report: a function of the record, with every number in it, in one file that needs nothing else."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from maelio.benchmarks.page import to_page
from maelio.benchmarks.plot import to_svg
from maelio.benchmarks.report import print_summary, write_report
from maelio.benchmarks.words import to_markdown
from maelio.energy import Energy
from maelio.records import RunRecord
from tests.benchmarks.records import some_record, some_times

CHROMIUM = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.mark.parametrize("made", [to_markdown, to_page, to_svg])
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
    assert "| maelio | 2 | 0.0123 | 0.0456 | 0.0000 | 0.0150 | 0.0050 | 1.0 MiB | 7.0 MiB |" in text
    assert "**naive** is bound by loading data" in text
    assert "load as the arm `maelio` does" in text
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
    bare = some_record().model_copy(update={"metrics": {}, "arms": {}, "parameters": {}})
    assert "What ran" in to_markdown(bare)
    print_summary(bare, Console(quiet=True))


def test_a_run_of_anybody_has_a_report_too() -> None:
    """Other arms, other parameters, and steps that were not told one by one."""
    plain = some_times(0.5, 0.2).model_copy(update={"each": None})
    record = some_record().model_copy(update={"metrics": {}, "arms": {"mine": (plain,)}, "parameters": {}})
    text, page = to_markdown(record), to_page(record)
    assert "naive" not in text
    assert "**mine** is bound by loading data" in text
    assert "seconds of the epoch" in page
    assert "how long steps take" not in page
    print_summary(record, Console(quiet=True))


def test_the_page_needs_nothing_beside_it() -> None:
    """The pictures stand in it, as vectors and text; what they refer to is in them."""
    page = to_page(some_record())
    assert page.count("<svg") == 1
    assert "<img" not in page
    references = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(one.startswith("#") and f'id="{one[1:]}"' in page for one in references)
    assert not re.search(r"https?:|@import|<script|url\((?!#)", page)
    for word in ("seconds of the epoch", "how long steps take", "step of the last epoch"):
        assert word in page


def test_the_files_are_written(tmp_path: Path) -> None:
    files = write_report(some_record(), tmp_path / "runs" / "one")
    assert sorted(file.name for file in files) == ["plot.svg", "report.html", "report.md"]
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
    """The picture has its size, its words stand within it (by the width of a letter or two: fonts differ), and no table is wider than the page."""
    page = to_page(some_record()).replace(
        "</body>",
        "<script>onload = () => { const i = document.querySelector('svg'), b = i.getBoundingClientRect();"
        "const out = [...i.querySelectorAll('text')].map(t => t.getBoundingClientRect())"
        ".filter(t => t.left < b.left - 20 || t.right > b.right + 20 || t.top < b.top - 20 || t.bottom > b.bottom + 20);"
        "document.body.dataset.seen = [i.querySelectorAll('text').length, b.width, b.height, out.length,"
        " document.documentElement.scrollWidth - innerWidth].map(Math.round).join(' ') }</script></body>",
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
    found = re.search(r'data-seen="(\d+) (\d+) (\d+) (\d+) (-?\d+)"', run.stdout)
    assert found, run.stderr
    words, width, height, outside, overhang = map(int, found.groups())
    assert words > 20
    assert width > 300
    assert height > 300
    assert outside == 0
    assert overhang <= 0

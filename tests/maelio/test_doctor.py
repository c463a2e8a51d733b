"""What the doctor says of what it found."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.doctor import (
    Finding,
    Folder,
    examine,
    judge_entry_points,
    judge_folder,
    judge_packages,
    judge_user,
    lines,
    look_at,
    requirements,
)

HOME = Folder("/home/nn", exists=True, writable=True, free_bytes=2**30)


def test_requirements_are_told_apart_by_the_extra_that_asks_for_them() -> None:
    stated = [
        "dask[distributed]>=2025.1",
        "torch<2.14,>=2.6",
        'prefect==3.8.8; extra == "flows"',
        "fastapi<0.151; extra == 'flows'",
        'maelio[flows,samples]; extra == "all"',
        'ruff>=0.9; extra == "dev"',
    ]
    assert requirements(stated) == {None: ["dask", "torch"], "flows": ["prefect", "fastapi"]}


def test_a_missing_package_is_broken_where_all_need_it_and_absent_where_an_extra_does() -> None:
    found = judge_packages(
        {None: ["zarr", "torch"], "flows": ["prefect"]}, {"zarr": "3.1", "torch": None, "prefect": None}
    )
    assert list(found) == [
        Finding("zarr", "ok", "3.1"),
        Finding("torch", "broken", "not installed", "pip install torch"),
        Finding("prefect", "absent", "not installed", 'pip install "maelio[flows]"'),
    ]


def test_one_id_from_two_distributions_is_doubtful() -> None:
    (finding,) = judge_entry_points(
        "climetlab.datasets",
        [("maelstrom_radiation", "maelio"), ("maelstrom-radiation", "climetlab-maelstrom-radiation")],
    )
    assert finding.state == "doubtful"
    assert "climetlab-maelstrom-radiation and maelio" in finding.found


@given(st.lists(st.text("ab_-", min_size=1), unique_by=lambda name: name.replace("_", "-")))
def test_ids_that_differ_raise_no_doubt(names: list[str]) -> None:
    assert list(judge_entry_points("group", [(name, "a") for name in names])) == []


@given(st.text(min_size=1), st.integers(1, 3))
def test_one_distribution_may_register_an_id_as_often_as_it_likes(name: str, times: int) -> None:
    """An editable install may be seen twice."""
    assert list(judge_entry_points("group", [(name, "a")] * times)) == []


@pytest.mark.parametrize(
    ("user", "home", "state", "says"),
    [
        ("nn", HOME, "ok", "nn"),
        (None, HOME, "broken", "no name"),
        ("nn", None, "broken", "unknown"),
        ("nn", Folder("/", exists=True, writable=False, free_bytes=0), "broken", "cannot be written"),
    ],
)
def test_what_climetlab_needs_to_know_of_the_user(
    user: str | None, home: Folder | None, state: str, says: str
) -> None:
    finding = judge_user(user, home)
    assert finding.state == state
    assert says in finding.found


def test_a_folder_that_will_be_made_counts_as_writable(tmp_path: Path) -> None:
    folder = look_at(tmp_path / "not" / "yet")
    assert (folder.exists, folder.writable) == (False, True)
    assert judge_folder("cache", folder).state == "ok"


def test_a_file_where_a_folder_should_be_is_broken_and_the_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    finding = judge_folder("cache", look_at(tmp_path / "cache"))
    assert finding.state == "broken"
    assert finding.remedy is not None
    assert "MAELIO_CACHE" in finding.remedy


def test_everything_broken_or_absent_comes_with_a_remedy_and_one_line_each() -> None:
    report = examine()
    assert all(f.remedy for f in report.findings if f.state in ("absent", "broken") and f.name != "settings")
    assert all("\n" not in text for line in lines(report) for text in line)


def test_here_nothing_is_broken() -> None:
    assert [finding for finding in examine().findings if finding.state == "broken"] == []

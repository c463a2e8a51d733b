"""Slurm's words, read: never a fault, whatever stands in them; and what becomes of a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maelio.flows.slurm.states import Phase, Status, newest, parse_sacct, parse_squeue
from maelio.flows.slurm.verdicts import verdict

SQUEUE = """\
1     |FAILED    |NonZeroExitCode  |n1     |768   |prefect:a|b c      |
2     |RUNNING   |None             |n[1-2] |0     |(null)             |
3_[1-9]|PENDING  |Resources        |       |0     |(null)             |
4     |TIMEOUT   |TimeLimit        |n2     |15    |prefect:x          |
5     |COMPLETED |None             |n2     |0     |prefect:x          |
"""
SACCT = """\
6|CANCELLED by 1000|0:15|n1
7|OUT_OF_MEMORY|0:125|n2
8|NODE_FAIL|1:0|n[1-2]
9|PENDING|0:0|None assigned
"""
STATES = (
    "PENDING",
    "RUNNING",
    "COMPLETED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "CANCELLED",
    "OUT_OF_MEMORY",
)
RUNS = (
    "SCHEDULED",
    "PENDING",
    "RUNNING",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "CRASHED",
    "PAUSED",
    "CANCELLING",
)


def test_what_squeue_and_sacct_print_is_read() -> None:
    """As Slurm 22.05 prints it, with narrower columns."""
    assert parse_squeue(SQUEUE) == {
        "1": Status("1", "FAILED", "NonZeroExitCode", "n1", 3, 0, "prefect:a|b c"),
        "2": Status("2", "RUNNING", "", "n[1-2]"),
        "3_[1-9]": Status("3_[1-9]", "PENDING", "Resources"),
        "4": Status("4", "TIMEOUT", "TimeLimit", "n2", 0, 15, "prefect:x"),
        "5": Status("5", "COMPLETED", "", "n2", comment="prefect:x"),
    }
    assert parse_sacct(SACCT) == {
        "6": Status("6", "CANCELLED", "", "n1", 0, 15),
        "7": Status("7", "OUT_OF_MEMORY", "", "n2", 0, 125),
        "8": Status("8", "NODE_FAIL", "", "n[1-2]", 1, 0),
        "9": Status("9", "PENDING"),
    }


texts = st.text() | st.lists(st.sampled_from(["|", "1", "a", " ", "\n", ":", "0:0", "²", "RUNNING"])).map(
    "".join
)


@given(texts)
def test_any_text_is_read_without_a_fault(text: str) -> None:
    for found in (parse_squeue(text), parse_sacct(text)):
        for job, status in found.items():
            assert job == status.job
            assert isinstance(status.phase, Phase)
            assert job in str(status)
            verdict(status, "RUNNING", restarts=0, limit=1)


field = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="|"), min_size=1)


@given(
    st.integers(1),
    st.sampled_from(STATES),
    field,
    field,
    st.integers(0, 255),
    st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1),
)
def test_what_was_printed_comes_back(
    job: int, state: str, reason: str, nodes: str, code: int, comment: str
) -> None:
    """A comment may hold the separator, and other jobs stand beside."""
    line = f"{job}  |{state} |{reason}  |{nodes} |{code << 8} |{comment}   |"
    status = parse_squeue(f"0 |RUNNING |None |n1 |0 |(null) |\n{line}\n")[str(job)]
    assert (status.state, status.exit_code, status.signal) == (state, code, 0)
    nothing = ("None", "(null)", "N/A")
    assert status.reason == ("" if reason in nothing else reason)
    assert status.nodes == ("" if nodes in nothing else nodes)
    assert status.comment == ("" if comment in nothing else comment)


def test_of_jobs_with_the_same_comment_the_newest_is_found() -> None:
    """By number, not by text."""
    jobs = {number: Status(number, "RUNNING", comment="prefect:x") for number in ("9", "10", "3_[1-2]")}
    assert newest(jobs, "prefect:x") == jobs["10"]
    assert newest(jobs, "prefect:y") is None


def test_states_have_a_phase_each() -> None:
    phases = [Status("1", state).phase.value for state in STATES]
    assert phases == [
        "pending", "running", "completed", "failed", "out of time", "lost with its node", "pre-empted", "cancelled", "out of memory",
    ]  # fmt: skip
    assert Status("1", "NEW_IN_SLURM_99").phase is Phase.UNKNOWN


@pytest.mark.parametrize(
    ("state", "run", "restarts", "end"),
    [
        ("COMPLETED", "COMPLETED", 0, "leave"),
        ("FAILED", "FAILED", 0, "leave"),
        ("COMPLETED", "RUNNING", 0, "crashed"),
        ("COMPLETED", "PAUSED", 0, "leave"),
        ("FAILED", "PENDING", 0, "crashed"),
        ("FAILED", "CRASHED", 0, "leave"),
        ("TIMEOUT", "RUNNING", 0, "crashed"),
        ("TIMEOUT", "CRASHED", 0, "crashed"),
        ("OUT_OF_MEMORY", "RUNNING", 0, "crashed"),
        ("CANCELLED", "RUNNING", 0, "cancelled"),
        ("CANCELLED", "CANCELLING", 0, "cancelled"),
        ("PREEMPTED", "CANCELLING", 0, "cancelled"),
        ("PREEMPTED", "RUNNING", 0, "again"),
        ("PREEMPTED", "CRASHED", 1, "again"),
        ("NODE_FAIL", "RUNNING", 2, "crashed"),
        ("NODE_FAIL", "COMPLETED", 0, "leave"),
        ("UNKNOWN", "RUNNING", 0, "crashed"),
    ],
)
def test_a_run_becomes_what_its_job_became_unless_it_told_itself(
    state: str, run: str, restarts: int, end: str
) -> None:
    assert verdict(Status("1", state), run, restarts=restarts, limit=2).end == end


@given(st.sampled_from(STATES), st.sampled_from(RUNS), st.integers(0, 9), st.integers(0, 9))
def test_no_run_is_started_again_beyond_its_limit_or_after_its_end(
    state: str, run: str, restarts: int, limit: int
) -> None:
    judged = verdict(Status("1", state), run, restarts=restarts, limit=limit)
    if judged.end == "again":
        assert restarts < limit
        assert run not in ("COMPLETED", "FAILED", "CANCELLED", "CANCELLING")
    assert (judged.message == "") == (judged.end == "leave")

"""Flow runs as jobs of a real Slurm: how they end, as Prefect tells it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("prefect", reason='Prefect is not installed: pip install "maelio[flows]"')

if TYPE_CHECKING:
    from tests.flows.slurm.conftest import Site

pytestmark = [
    pytest.mark.slow,
    # Prefect and its dependencies, at import and while they run; nothing of ours
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

LONG_S = 3600.0


def test_flows_run_as_jobs_and_tell_their_end_themselves(site: "Site") -> None:
    """One returns, one raises; Slurm's log and node stand in the log of the run."""
    good, bad = site.submit("succeed"), site.submit("fail")
    assert site.end(good).state.type.value == "COMPLETED"
    state = site.end(bad).state
    assert state.type.value == "FAILED"
    assert "no wind" in state.message
    site.wait_for_log(good, "runs on n")
    site.wait_for_log(good, str(site.folder / "slurm-logs" / f"{site.job(good)}.out"))


def test_what_sbatch_refuses_crashes_the_run_with_its_words(site: "Site") -> None:
    state = site.end(site.told("COMPLETED", partition="nowhere")).state
    assert state.type.value == "CRASHED"
    assert "Invalid partition name specified" in state.message


def test_a_job_without_a_flow_that_tells_an_end_is_a_crash(site: "Site") -> None:
    run, silent = site.submit(command="bash -c 'echo calm; exit 3'"), site.told("none")
    state = site.end(run).state
    assert state.type.value == "CRASHED"
    assert "exit code 3" in state.message
    site.wait_for_log(run, "calm")
    assert "its flow told no end" in site.end(silent).state.message


def test_a_run_cancelled_while_slurm_lets_it_wait_has_no_job(site: "Site") -> None:
    """Why it waits is its state's name meanwhile."""
    run = site.told("COMPLETED", options=["--begin=now+1hour"])
    site.until(lambda: site.run(run).state.name == "Slurm: BeginTime", "no reason", run)
    site.cancel(run)
    assert site.end(run).state.type.value == "CANCELLED"
    assert site.slurm_state(site.job(run)) == "CANCELLED"


def test_a_run_cancelled_while_it_runs_has_no_job(site: "Site") -> None:
    run = site.told("COMPLETED", LONG_S)
    site.wait(run, "RUNNING")
    job = site.job(run)
    site.cancel(run)
    assert site.end(run).state.type.value == "CANCELLED"
    assert site.slurm_state(job) == "CANCELLED"


def test_scancel_is_told_as_cancelled_from_slurms_side(site: "Site") -> None:
    run = site.told("COMPLETED", LONG_S)
    site.wait(run, "RUNNING")
    site.slurm.call("scancel", site.job(run))
    state = site.end(run).state
    assert state.type.value == "CANCELLED"
    assert "from Slurm's side" in state.message


def test_a_run_whose_node_crashes_runs_again_within_a_limit(site: "Site") -> None:
    run = site.told("COMPLETED", LONG_S, options=["--nodelist=n2"], restarts=1)
    site.wait(run, "RUNNING")
    first = site.job(run)
    site.slurm.crash_node("n2")
    site.until(lambda: site.run(run).infrastructure_pid not in (None, "", first), "no second job", run)
    site.wait_for_log(run, "NODE_FAIL (NodeDown) on n2; start 2 of 2")
    site.slurm.mend_node("n2")
    site.until(lambda: site.slurm_state(site.job(run)) == "RUNNING", "the second job does not run", run)
    site.wait(run, "RUNNING")
    site.slurm.crash_node("n2")
    try:
        state = site.end(run).state
    finally:
        site.slurm.mend_node("n2")
    assert state.type.value == "CRASHED"
    assert "NODE_FAIL (NodeDown) on n2; it was started 2 times, the limit" in state.message


def test_a_preempted_run_runs_again(site: "Site") -> None:
    run = site.told("COMPLETED", LONG_S, partition="spare")
    site.wait(run, "RUNNING")
    first = site.job(run)
    other = site.told("COMPLETED", partition="urgent", nodes=1, options=["--exclusive"])
    assert site.end(other).state.type.value == "COMPLETED"
    site.until(lambda: site.run(run).infrastructure_pid not in (None, "", first), "no second job", run)
    assert site.slurm_state(first) == "PREEMPTED"
    site.wait_for_log(run, "PREEMPTED on n2, ended by signal 15; start 2 of 4")
    site.cancel(run)
    site.end(run)


def test_a_worker_goes_on_with_what_a_killed_one_left(site: "Site") -> None:
    """A job that runs, one that waits, one that ended meanwhile, and one that stood in no record yet."""
    running = site.told("none", LONG_S)
    waiting = site.told("COMPLETED", options=["--begin=now+1hour"])
    unrecorded = site.told("none", LONG_S)
    for run in (running, unrecorded):
        site.wait(run, "RUNNING")
    jobs = {run: site.job(run) for run in (running, waiting, unrecorded)}
    site.kill_worker()
    site.worker = None
    site.client.update_flow_run(unrecorded, infrastructure_pid="")
    site.slurm.call("scancel", jobs[unrecorded])
    site.start_worker()
    state = site.end(unrecorded).state
    assert state.type.value == "CANCELLED"
    assert jobs[unrecorded] in state.message
    site.cancel(waiting)
    assert site.end(waiting).state.type.value == "CANCELLED"
    site.slurm.call("scancel", jobs[running])
    assert jobs[running] in site.end(running).state.message


def test_variables_and_secrets_arrive(site: "Site", tmp_path: Path) -> None:
    """The environment goes past the script; the prolog and the container's command line stand in it."""
    apptainer = tmp_path / "apptainer"
    apptainer.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f'json.dump([sys.argv[1:], os.environ["SECRET"], os.environ["SEASON"]], open({str(tmp_path / "out")!r}, "w"))\n'
    )
    apptainer.chmod(0o755)
    run = site.submit(
        command="python 'a b'", image="wind 'n rain.sif", container=str(apptainer), binds=["/data:/data:ro"],
        prolog=["export SEASON=autumn"], cpus_per_task=2, env={"SECRET": "of the run"},
    )  # fmt: skip
    site.end(run)
    assert json.loads((tmp_path / "out").read_text()) == [
        ["exec", "--bind=/data:/data:ro", "wind 'n rain.sif", "python", "a b"], "of the run", "autumn",
    ]  # fmt: skip
    job = site.job(run)
    assert "of the run" not in site.slurm.call("scontrol", "write", "batch_script", job, "-")
    assert "NumCPUs=2" in site.slurm.call("scontrol", "show", "job", job)


def test_many_small_jobs_all_arrive(site: "Site") -> None:
    """More than the nodes hold at once; each has a job of its own."""
    runs = [site.told("COMPLETED") for _ in range(10)]
    assert {site.end(run).state.type.value for run in runs} == {"COMPLETED"}
    assert len({site.job(run) for run in runs}) == len(runs)


def test_a_job_out_of_time_is_a_crash_that_says_so(site: "Site") -> None:
    assert site.overdue
    state = site.end(site.overdue).state
    assert state.type.value == "CRASHED"
    assert "TIMEOUT" in state.message

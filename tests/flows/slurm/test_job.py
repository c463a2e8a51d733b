"""The command line of sbatch and the script, as a real shell reads them."""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from maelio.errors import BadRequest, BadSetting, NotFound
from maelio.flows.slurm.job import Job, over, sbatch_command, script
from maelio.flows.slurm.sites import read_site, site_names, with_site

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
DUMP = """
dump() { printf '%s\\0' "$@"; }
module() { dump module "$@"; }
exec() { dump "$@"; }
"""


def read_by_bash(text: str) -> list[str]:
    """The words that `module` and `exec` get."""
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash"], input=(DUMP + text).encode(), stdout=subprocess.PIPE, env=environment, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=50)
@given(st.lists(words, min_size=1), st.lists(words), words, st.lists(words))
def test_any_text_arrives_in_the_job_as_it_is(
    command: list[str], modules: list[str], image: str, binds: list[str]
) -> None:
    """Blanks, quotes, newlines, dollars: nothing is split, and nothing is run."""
    loaded = ["module", "load", *modules] if modules else []
    assert read_by_bash(script(Job(modules=modules), command)) == loaded + command
    job = Job(image=image, binds=binds, gpus_per_node=1)
    inside = ["apptainer", "exec", "--nv", *(f"--bind={bind}" for bind in binds), image]
    assert read_by_bash(script(job, command)) == inside + command


@given(words, words, words)
def test_any_text_is_one_argument_of_sbatch(partition: str, name: str, comment: str) -> None:
    command = sbatch_command(Job(partition=partition), name=name, comment=comment)
    assert command[0] == "sbatch"
    assert {f"--partition={partition}", f"--job-name={name}", f"--comment={comment}"} <= set(command)
    assert all(argument.startswith("--") for argument in command[1:])


def test_what_is_asked_for_stands_on_the_command_line_and_nothing_else() -> None:
    asked = Job(
        partition="gpu", account="climate", qos="high", time_limit="1-00:00:00", nodes=2, tasks_per_node=4,
        cpus_per_task=8, memory="16G", gpus_per_node=4, constraint="a100", reservation="course",
        options=["--exclusive"], working_folder="/work", log_folder="logs 100%",
    )  # fmt: skip
    assert sbatch_command(asked, name="run", comment="prefect:1")[5:] == [
        "--job-name=run", "--comment=prefect:1", "--output=logs 100%%/%j.out", "--partition=gpu",
        "--account=climate", "--qos=high", "--time=1-00:00:00", "--nodes=2", "--ntasks-per-node=4",
        "--cpus-per-task=8", "--mem=16G", "--constraint=a100", "--reservation=course", "--chdir=/work",
        "--gpus-per-node=4", "--exclusive",
    ]  # fmt: skip
    bare = ["--job-name=run", "--comment=prefect:1", "--output=slurm-logs/%j.out"]
    assert sbatch_command(Job(), name="run", comment="prefect:1")[5:] == bare


def test_the_prolog_is_shell_and_the_command_takes_the_place_of_the_shell() -> None:
    """So a signal of Slurm reaches the command itself."""
    text = script(
        Job(modules=["GCC", "CUDA"], prolog=["ulimit -c 0", "source env.sh"]), ["python", "train.py"]
    )
    assert text == "#!/bin/bash\nmodule load GCC CUDA\nulimit -c 0\nsource env.sh\nexec python train.py\n"


@pytest.mark.parametrize(
    "variables", [{"image": "a\0b"}, {"log_folder": "a\\b"}, {"nodes": 0}, {"partitions": "main"}]
)
def test_what_no_job_can_have_is_refused(variables: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Job.model_validate(variables)


def test_a_job_without_a_command_is_refused() -> None:
    with pytest.raises(BadRequest, match="at least one word"):
        script(Job(), [])


optional = st.none() | words
jobs = st.builds(
    Job,
    partition=optional,
    account=optional,
    nodes=st.none() | st.integers(1),
    prolog=st.none() | st.lists(words),
)


@given(jobs, jobs)
def test_what_a_job_says_goes_before_its_site(site: Job, job: Job) -> None:
    merged = over(site, job)
    for name in Job.model_fields:
        own = getattr(job, name)
        assert getattr(merged, name) == (getattr(site, name) if own is None else own)


def test_a_site_that_comes_with_maelio_is_found_by_its_name() -> None:
    assert "example" in site_names()
    job = with_site(Job(site="example", cpus_per_task=2))
    assert (job.partition, job.cpus_per_task, job.site) == ("batch", 2, "example")


def test_a_site_file_is_found_by_its_path_and_read_with_care(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('partition = "gpu"')
    assert with_site(Job(site=str(path))).partition == "gpu"
    path.write_text("nodes = 0")
    with pytest.raises(BadSetting, match=r"own\.toml: nodes: .*greater than or equal to 1, found 0"):
        read_site(str(path))
    path.write_text("nodes = ")
    with pytest.raises(BadSetting, match="no TOML"):
        read_site(str(path))
    with pytest.raises(NotFound, match=r"site 'nowhere'.*wanted one of example"):
        read_site("nowhere")

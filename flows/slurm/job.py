"""What is asked of Slurm for one job, as the command line of sbatch and the text of a script."""

import shlex
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from maelio.errors import BadRequest


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character, which no command line can")
    return text


def _folder(text: str) -> str:
    if "\\" in text:
        raise ValueError("holds a backslash, which sbatch reads as an instruction")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
Folder = Annotated[Text, AfterValidator(_folder)]


class Job(BaseModel):
    """The variables of a job. None is not asked for: then the site's default holds, then Slurm's own.

    Secrets belong into the environment, which goes to the job past its script and its command line.
    """

    model_config = ConfigDict(extra="forbid")

    site: Text | None = Field(
        default=None, description="name of a site file that comes with maelio, or a path to one"
    )
    partition: Text | None = Field(default=None, description="sbatch --partition")
    account: Text | None = Field(default=None, description="sbatch --account")
    qos: Text | None = Field(default=None, description="sbatch --qos")
    time_limit: Text | None = Field(default=None, description="sbatch --time: minutes or D-HH:MM:SS")
    nodes: int | None = Field(default=None, ge=1, description="sbatch --nodes")
    tasks_per_node: int | None = Field(default=None, ge=1, description="sbatch --ntasks-per-node")
    cpus_per_task: int | None = Field(default=None, ge=1, description="sbatch --cpus-per-task")
    memory: Text | None = Field(default=None, description="sbatch --mem, of each node: 16G")
    gpus_per_node: int | None = Field(default=None, ge=0, description="sbatch --gpus-per-node")
    constraint: Text | None = Field(default=None, description="sbatch --constraint")
    reservation: Text | None = Field(default=None, description="sbatch --reservation")
    options: list[Text] | None = Field(default=None, description="more options of sbatch, as they are")
    modules: list[Text] | None = Field(default=None, description="what `module load` gets")
    prolog: list[Text] | None = Field(default=None, description="lines of shell before the run")
    image: Text | None = Field(
        default=None, description="container image: a .sif file, a folder, docker://..."
    )
    container: Text | None = Field(
        default=None, description="what runs an image: apptainer (default) or singularity"
    )
    container_options: list[Text] | None = Field(default=None, description="more options of `apptainer exec`")
    binds: list[Text] | None = Field(
        default=None, description="folders that the container sees: SRC[:DST[:ro]]"
    )
    working_folder: Folder | None = Field(
        default=None, description="sbatch --chdir; default: where the worker runs"
    )
    log_folder: Folder | None = Field(
        default=None, description="where Slurm writes JOB.out; below the working folder"
    )
    restarts: int | None = Field(
        default=None, ge=0, description="how often a run is started again after its job was lost"
    )


LOG_FOLDER = "slurm-logs"
RESTARTS = 3

_OPTIONS = {
    "partition": "--partition",
    "account": "--account",
    "qos": "--qos",
    "time_limit": "--time",
    "nodes": "--nodes",
    "tasks_per_node": "--ntasks-per-node",
    "cpus_per_task": "--cpus-per-task",
    "memory": "--mem",
    "constraint": "--constraint",
    "reservation": "--reservation",
    "working_folder": "--chdir",
}


def over(site: Job, job: Job) -> Job:
    """What `job` asks, and where it is silent what `site` does."""
    return Job(**{**site.model_dump(exclude_none=True), **job.model_dump(exclude_none=True)})


def sbatch_command(job: Job, *, name: str, comment: str) -> list[str]:
    """The arguments of sbatch, which reads the script from its standard input and prints the job's id alone.

    Slurm shall not start a job again by itself: whoever submits it does, and counts.
    """
    command = ["sbatch", "--parsable", "--no-requeue", "--export=ALL", "--open-mode=append"]
    command += [f"--job-name={name}", f"--comment={comment}", f"--output={log_pattern(job)}"]
    command += [
        f"{option}={value}" for key, option in _OPTIONS.items() if (value := getattr(job, key)) is not None
    ]
    if job.gpus_per_node:
        command.append(f"--gpus-per-node={job.gpus_per_node}")
    return command + (job.options or [])


def log_pattern(job: Job) -> str:
    """The file of a job's output as sbatch wants it, `%j` in place of the id."""
    return (job.log_folder or LOG_FOLDER).replace("%", "%%") + "/%j.out"


def script(job: Job, command: Sequence[str]) -> str:
    """A bash script that ends with `command` in place of the shell, so that signals reach it.

    Each word of `command`, and each variable but `prolog`, arrives as it is, whatever characters it holds.

    Raises BadRequest: there is no command.
    """
    if not command:
        raise BadRequest("a job without a command: wanted at least one word")
    lines = ["#!/bin/bash"]
    if job.modules:
        lines.append(shlex.join(["module", "load", *job.modules]))
    lines += job.prolog or []
    lines.append(f"exec {shlex.join(inside(job, command))}")
    return "\n".join(lines) + "\n"


def inside(job: Job, command: Sequence[str]) -> list[str]:
    """`command` as it is, or in the container of the job; GPUs are handed in where the job has some."""
    if job.image is None:
        return list(command)
    words = [job.container or "apptainer", "exec"]
    words += ["--nv"] if job.gpus_per_node else []
    words += [f"--bind={bind}" for bind in job.binds or []]
    return [*words, *(job.container_options or []), job.image, *command]

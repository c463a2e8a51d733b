"""sbatch, squeue, sacct and scancel, called."""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from maelio.errors import MaelioError, Missing
from maelio.flows.slurm.states import SACCT, SQUEUE, Status, newest, parse_sacct, parse_squeue

PATIENCE_S = 120.0


class SlurmError(MaelioError):
    """One of Slurm's commands failed; the message is its own."""


def environment(more: Mapping[str, str | None], own: Mapping[str, str]) -> dict[str, str]:
    """That of a job: `own` without what Slurm told this process as a job, then `more`; None takes a name away."""
    kept = {
        name: value
        for name, value in own.items()
        if name in ("SLURM_CONF", "SLURM_CONF_SERVER")
        or not name.startswith(("SLURM_", "SBATCH_", "SLURMD_"))
    }
    merged = {**kept, **more}
    return {name: value for name, value in merged.items() if value is not None}


async def submit(
    command: Sequence[str], script: str, job_environment: Mapping[str, str], comment: str
) -> str:
    """The id of the new job.

    Where sbatch fails the job may stand nevertheless (the answer was lost): then it is found by its comment.

    Raises SlurmError: with the text of sbatch, and Missing: there is no Slurm here.
    """
    before = newest(await queue(), comment)
    try:
        output = await _run(command, script, job_environment)
    except SlurmError:
        found = newest(await queue(), comment)
        if found is None or found == before:
            raise
        return found.job
    return output.strip().partition(";")[0]


async def queue() -> dict[str, Status]:
    """The user's jobs that Slurm holds: live ones, and for some minutes those that ended. Raises as `submit`."""
    return parse_squeue(await _run(SQUEUE))


async def accounts(jobs: Collection[str]) -> dict[str, Status]:
    """Of jobs that Slurm holds no longer. Empty where the cluster keeps no accounts. Raises as `submit`."""
    try:
        return parse_sacct(await _run([*SACCT, f"--jobs={','.join(jobs)}"]))
    except SlurmError as error:
        if "disabled" in str(error):
            return {}
        raise


async def cancel(job: str) -> None:
    """A job that is over already is left as it is. Raises as `submit`."""
    try:
        await _run(["scancel", job])
    except SlurmError as error:
        if not any(text in str(error) for text in ("Invalid job id", "already completing or completed")):
            raise


def log_tail(path: Path, lines: int) -> list[str]:
    """The last lines of a job's output, none where this machine does not see the file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 200 * lines))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except (FileNotFoundError, PermissionError):
        return []


async def _run(
    command: Sequence[str], text: str = "", process_environment: Mapping[str, str] | None = None
) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=process_environment,
        )
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not on PATH: this machine cannot submit to Slurm") from None
    try:
        output, errors = await asyncio.wait_for(process.communicate(text.encode()), PATIENCE_S)
    except TimeoutError:
        raise SlurmError(f"{command[0]} did not answer within {PATIENCE_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = " ".join(errors.decode(errors="replace").split())
        raise SlurmError(f"{command[0]}: {said or f'exit code {process.returncode}'}")
    return output.decode(errors="replace")

"""What is installed, what is missing and how to get it, what is broken: look first, then say it."""

import getpass
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, distribution, entry_points
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from maelio.environment import Environment, environment, installed
from maelio.errors import BadSetting
from maelio.files import show_bytes
from maelio.settings import load_settings, settings_file

State = Literal["ok", "absent", "doubtful", "broken"]
BROKEN: State = "broken"

GROUPS = ("climetlab.datasets", "climetlab.sources")
_META = ("all", "dev")  # extras that are for nobody's run


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `absent`: optional. `doubtful`: works, perhaps not as meant. `remedy`: what to do."""

    name: str
    state: State
    found: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """`free_bytes` are those of the file system, null where it cannot be asked."""

    path: str
    exists: bool
    writable: bool
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Report:
    environment: Environment
    folders: Mapping[str, Folder]
    findings: tuple[Finding, ...]


def lines(report: Report) -> list[tuple[str, str, str]]:
    """State, name and what to know of each finding, the machine first."""
    about = report.environment
    machine = [
        ("", "python", f"{about.python} on {about.system}"),
        ("", "processor", f"{about.cores} core(s), {about.processor or 'unknown'}"),
        ("", "memory", show_bytes(about.memory_bytes)),
        ("", "gpu", ", ".join(about.gpus) or "none that the NVIDIA driver shows"),
    ]
    return machine + [
        (
            finding.state,
            finding.name,
            f"{finding.found}; {finding.remedy}" if finding.remedy else finding.found,
        )
        for finding in report.findings
    ]


def to_json(report: Report) -> dict[str, Any]:
    return {
        "environment": report.environment.model_dump(mode="json"),
        "folders": {name: asdict(folder) for name, folder in report.folders.items()},
        "findings": [asdict(finding) for finding in report.findings],
    }


def requirements(stated: Iterable[str]) -> dict[str | None, list[str]]:
    """Distribution names by the extra that asks for them, None for all users. `stated` is core metadata's `Requires-Dist`."""
    asked: dict[str | None, list[str]] = {None: []}
    for line in stated:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"""extra\s*==\s*["']([\w.-]+)["']""", line)
        if name and (extra is None or extra[1] not in _META):
            asked.setdefault(extra and extra[1], []).append(name[0])
    return asked


def judge_packages(
    asked: Mapping[str | None, Sequence[str]], versions: Mapping[str, str | None]
) -> Iterator[Finding]:
    for extra, names in asked.items():
        for name in names:
            version = versions[name]
            if version is not None:
                yield Finding(name, "ok", version)
            elif extra is None:
                yield Finding(name, BROKEN, "not installed", f"pip install {name}")
            else:
                yield Finding(name, "absent", "not installed", f'pip install "maelio[{extra}]"')


def judge_entry_points(group: str, registered: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """`registered` are (id, distribution). CliMetLab takes the last one it sees, and that order is nobody's promise."""
    normal = sorted({(name.replace("_", "-"), owner) for name, owner in registered})
    for name, same in groupby(normal, key=lambda entry: entry[0]):
        owners = [owner for _, owner in same]
        if len(owners) > 1:
            yield Finding(
                name,
                "doubtful",
                f"{group}: registered by {' and '.join(owners)}, which one CliMetLab takes is chance",
                "uninstall all but one",
            )


def judge_folder(name: str, folder: Folder) -> Finding:
    size = "unknown" if folder.free_bytes is None else show_bytes(folder.free_bytes)
    if not folder.writable:
        return Finding(
            name, BROKEN, f"{folder.path} cannot be written", f"set MAELIO_{name.upper()} to one that can"
        )
    return Finding(name, "ok", f"{folder.path}{'' if folder.exists else ' (made when needed)'}, {size} free")


def judge_user(user: str | None, home: Folder | None) -> Finding:
    """Importing CliMetLab asks for the user's name and writes settings to the home folder."""
    if user is None:
        return Finding("user", BROKEN, "no name for this user id, CliMetLab cannot be imported", "set USER")
    if home is None or not home.writable:
        where = "unknown" if home is None else f"{home.path}, which cannot be written"
        return Finding("user", BROKEN, f"home folder {where}; CliMetLab keeps settings there", "set HOME")
    return Finding("user", "ok", f"{user}, home {home.path}")


def look_at(path: Path) -> Folder:
    there = next((folder for folder in (path, *path.absolute().parents) if folder.exists()), None)
    writable = there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return Folder(str(path), path.exists(), writable, shutil.disk_usage(there).free if there else None)


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown"


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # KeyError before Python 3.13
        return None


def _home() -> Folder | None:
    try:
        return look_at(Path.home())
    except RuntimeError:
        return None


def _own_entry_points() -> Iterator[Finding]:
    for entry in distribution("maelio").entry_points:
        try:
            entry.load()
        except Exception as error:  # noqa: BLE001 - whatever breaks an import is what is asked for
            yield Finding(
                entry.name, BROKEN, f"{entry.value}: {type(error).__name__}: {error}", "install maelio again"
            )
        else:
            yield Finding(entry.name, "ok", f"{entry.group}: {entry.value}")


def examine() -> Report:
    """Look at everything. Imports what the entry points name, so it takes seconds."""
    asked = requirements(distribution("maelio").requires or ())
    names = [name for group in asked.values() for name in group]
    findings = [*judge_packages(asked, {name: installed(name) for name in names})]
    findings.append(judge_user(_user(), _home()))
    findings += _own_entry_points()
    for group in GROUPS:
        findings += judge_entry_points(
            group, [(entry.name, _owner(entry)) for entry in entry_points(group=group)]
        )
    folders: dict[str, Folder] = {}
    try:
        settings = load_settings()
    except BadSetting as error:
        findings.append(Finding("settings", BROKEN, str(error)))
    else:
        there = "" if settings_file().exists() else " (not there, defaults hold)"
        findings.append(Finding("settings", "ok", f"{settings_file()}{there}"))
        folders = {"cache": look_at(settings.cache), "runs": look_at(settings.runs)}
        findings += [judge_folder(name, folder) for name, folder in folders.items()]
    return Report(environment(), folders, tuple(findings))

"""What is wrong with sources, as values: found by pure checks, accepted by a policy or refused in one line."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import JsonValue

from maelio.converters.policies import POLICIES, Action, Subject
from maelio.errors import BadData, Inconsistent, MaelioError


@dataclass(frozen=True, slots=True)
class Problem:
    """Found in a file, where something else was wanted.

    `actions`: those of the policies for `subject` that can help here. `hint`: another way out, in words.
    `kind`: the error that it is when refused.
    """

    subject: Subject | None
    file: Path
    found: str
    wanted: str | None = None
    variable: str | None = None
    actions: tuple[Action, ...] = ()
    hint: str | None = None
    kind: type[MaelioError] = Inconsistent

    @property
    def text(self) -> str:
        """File, variable, found and wanted."""
        variable = f"variable {self.variable!r} " if self.variable is not None else ""
        wanted = f", wanted {self.wanted}" if self.wanted else ""
        return f"{self.file}: {variable}{self.found}{wanted}"

    @property
    def message(self) -> str:
        """The text, and what would accept it."""
        flags = [f"--on {self.subject}={action}" for action in self.actions]
        ways = [*([f"{' or '.join(flags)} takes it"] if flags else []), *([self.hint] if self.hint else [])]
        return "; ".join((self.text, *ways))

    def to_json(self) -> dict[str, JsonValue]:
        return {
            "problem": self.subject,
            "file": str(self.file),
            "variable": self.variable,
            "found": self.found,
            "wanted": self.wanted,
            "accepted_by": [f"{self.subject}={action}" for action in self.actions],
            "message": self.message,
        }


def problem(
    subject: Subject,
    file: Path,
    found: str,
    wanted: str | None = None,
    *,
    variable: str | None = None,
    but: Iterable[Action] = (),
) -> Problem:
    """One that every policy for `subject` can take, `but` for these."""
    actions = tuple(action for action in POLICIES[subject].actions if action not in {*but})
    return Problem(subject, file, found, wanted, variable, actions)


def failure(path: Path, error: MaelioError) -> Problem:
    """A file that could not be read. Data that are damaged may be left out; a wrong path is a wrong request."""
    damaged = isinstance(error, BadData)
    return Problem(
        "truncated" if damaged else None,
        path,
        str(error).removeprefix(str(path)).removeprefix(":").strip(),
        actions=("skip",) if damaged else (),
        kind=type(error),
    )


class Verdicts:
    """Problems as they are found: `accepted` as a policy says, or `refused`."""

    def __init__(self, on: Mapping[Subject, Action]) -> None:
        self._on = on
        self.accepted: list[Problem] = []
        self.refused: list[Problem] = []

    def action(self, found: Problem) -> Action | None:
        """What the policies would do about it; None: refuse."""
        action = self._on.get(found.subject) if found.subject else None
        return action if action in found.actions else None

    def judge(self, found: Problem) -> Action | None:
        """Note a problem. What is to be done about it; None: it is refused."""
        action = self.action(found)
        (self.refused if action is None else self.accepted).append(found)
        return action

    def judge_file(self, found: Sequence[Problem]) -> list[tuple[Problem, Action | None]] | None:
        """Note the problems of one file. None: it is left out, whatever else it has."""
        for each in found:
            if self.action(each) == "skip":
                self.judge(each)
                return None
        return [(each, self.judge(each)) for each in found]

    def notes(self) -> tuple[str, ...]:
        """What was accepted, and what is done about it, a line each."""
        return tuple(
            f"{found.text}: {POLICIES[found.subject].actions[action]}"
            for found in self.accepted
            if found.subject and (action := self.action(found))
        )


def refuse(found: Sequence[Problem]) -> NoReturn:
    """Raise the first as the error that it is; the line says how many more there are."""
    first, *others = found
    more = f" (and {len(others)} more: --dry-run lists them)" if others else ""
    raise first.kind(first.message + more)

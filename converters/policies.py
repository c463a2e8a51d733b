"""What may be wrong with sources, and what a user may have done about it: one table for the check, the help and the docs."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast, get_args

from maelio.errors import BadRequest

Subject = Literal[
    "truncated", "messages", "filter", "variable", "grid", "latitude", "calendar", "duplicate", "unsorted", "gap",
    "non-finite",
]  # fmt: skip
Action = Literal["skip", "fill", "drop", "flip", "convert", "first", "last", "sort", "allow", "refuse"]


@dataclass(frozen=True, slots=True)
class Policy:
    """A problem in words, and for each action that may be taken what is then done, as a log says it."""

    problem: str
    actions: Mapping[Action, str]


POLICIES: Mapping[Subject, Policy] = MappingProxyType({
    "truncated": Policy(
        "a file is cut short, damaged, empty, or does not open", {"skip": "the file is left out"}
    ),
    "messages": Policy("a GRIB file lacks messages of a variable", {"fill": "NaN stands in their place"}),
    "filter": Policy(
        "a variable is compressed by an HDF5 filter that is not there",
        {"drop": "the variable is left out of all files"},
    ),
    "variable": Policy(
        "a file lacks a variable, or has it in another unit or dtype",
        {
            "drop": "the variable is left out of all files",
            "fill": "it is NaN for that file",
        },
    ),
    "grid": Policy("a file has other sizes or coordinates than the first", {"skip": "the file is left out"}),
    "latitude": Policy("a file has its latitudes in reverse order", {"flip": "its rows are put in reverse"}),
    "calendar": Policy(
        "a file counts time in another calendar or in other steps",
        {"convert": "its dates are converted, one by one", "skip": "the file is left out"},
    ),
    "duplicate": Policy(
        "a time, or a GRIB message, is there more than once",
        {"first": "the first one, as files are given, is kept", "last": "the last one, as files are given, is kept"},
    ),
    "unsorted": Policy("times go back", {"sort": "samples are sorted by time"}),
    "gap": Policy("a step is far longer than the others", {"allow": "the gap stays"}),
    "non-finite": Policy(
        "values are infinite (NaN means missing, and is taken)",
        {"allow": "infinite values are taken", "refuse": "NaN is refused as well"},
    ),
})  # fmt: skip


def policies(on: Mapping[str, str]) -> dict[Subject, Action]:
    """What a user said. Raises BadRequest: something is not in the table; the message says what is."""
    known: dict[str, Policy] = dict(POLICIES.items())
    for subject, action in on.items():
        policy = known.get(subject)
        if policy is None:
            raise BadRequest(f"--on {subject}={action}: no such problem; there are {choices()}")
        if action not in policy.actions:
            raise BadRequest(f"--on {subject}={action}: wanted {subject}={'|'.join(policy.actions)}")
    return cast(dict[Subject, Action], dict(on))


def choices() -> str:
    """All that may be said, short."""
    return ", ".join(f"{subject}={'|'.join(POLICIES[subject].actions)}" for subject in get_args(Subject))

"""What a conversion would do, all that stands in its way, and how long it would take."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from maelio.converters.estimate import estimate_s
from maelio.converters.options import Options
from maelio.converters.plan import Plan
from maelio.converters.prepare import survey
from maelio.converters.problems import Problem, failure
from maelio.errors import BadData


@dataclass(frozen=True, slots=True, eq=False)
class DryRun:
    """What `convert` would do. `refused`: all problems of the sources that stop it; `plan`: None where none can be made.

    `estimated_s`: how long it would take, None where that cannot be told.
    """

    plan: Plan | None
    refused: tuple[Problem, ...]
    estimated_s: float | None

    @property
    def exit_code(self) -> int:
        codes = {found.kind.exit_code for found in self.refused}
        return codes.pop() if len(codes) == 1 else BadData.exit_code if codes else 0

    def to_json(self) -> dict[str, JsonValue]:
        return {
            **(self.plan.to_json() if self.plan else {}),
            "estimated_s": self.estimated_s,
            "problems": [found.to_json() for found in self.refused],
        }

    def describe(self, shown: Callable[[Plan], str] = Plan.describe) -> str:
        """`shown`: the plan in words."""
        lines = [shown(self.plan)] if self.plan else []
        if self.plan and self.estimated_s is not None:
            seconds = f"{self.estimated_s:.{1 if self.estimated_s < 10 else 0}f}"
            lines.append(
                f"about {seconds} s on {self.plan.workers} thread(s) (measured on one sample, without the disk)"
            )
        if self.refused:
            lines.append(f"{len(self.refused)} problem(s):")
        return "\n".join((*lines, *(found.message for found in self.refused)))


def dry_run(
    sources: object,
    target: Path | None,
    options: Options,
    *,
    folder: Path | None = None,
    timed: bool = True,
) -> DryRun:
    """The plan, every problem of the sources, and the time that it would take. Sources and `folder`: as of `survey`.

    Raises: as `survey`.
    """
    start = time.perf_counter()
    found = survey(sources, target, options, folder)
    looking_s = time.perf_counter() - start
    plan = found.prepared.plan if found.prepared else None
    if plan is None or not timed:
        return DryRun(plan, found.refused, None)
    try:
        working_s = estimate_s(plan)
        return DryRun(plan, found.refused, None if working_s is None else looking_s + working_s)
    except BadData as error:
        file = plan.sources[plan.joined.runs[0].file].path
        unread = replace(failure(file, error), subject=None, actions=())
        return DryRun(plan, (*found.refused, unread), None)

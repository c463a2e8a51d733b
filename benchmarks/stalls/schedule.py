"""Which arm of which layout is measured when: arithmetic alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from maelio.benchmarks.stalls.workloads import Layout
from maelio.errors import BadRequest

Arm = Literal["null", "warm", "cold", "load-only"]
"""Batches that lie in memory; read from the page cache; read from the disk; read from the page cache with no compute."""

ARMS: tuple[Arm, ...] = get_args(Arm)


@dataclass(frozen=True, slots=True)
class Turn:
    """Some epochs of one arm. `repeat` 0 is the warm-up, which is not counted."""

    layout: Layout
    arm: Arm
    repeat: int

    @property
    def name(self) -> str:
        return f"{self.layout}/{self.arm}"


def named(names: Sequence[str] | None) -> tuple[Arm, ...]:
    """The arms that are named, in their order; None: all. Raises BadRequest: there is no such arm."""
    for name in names or ():
        if name not in ARMS:
            raise BadRequest(f"arm={name!r}: wanted {', '.join(ARMS)}")
    return tuple(arm for arm in ARMS if names is None or arm in names)


def schedule(layouts: Sequence[Layout], arms: Sequence[Arm], repeats: int) -> list[Turn]:
    """A B C D, D C B A, ...: every second repeat runs backwards, so that no arm always comes behind the same other."""
    turns = [(layout, arm) for layout in layouts for arm in arms]
    return [
        Turn(layout, arm, repeat)
        for repeat in range(repeats + 1)
        for layout, arm in (turns[::-1] if repeat % 2 else turns)
    ]

"""Messages as variables: which belong together, along which dimensions, and whether any is missing or double.

    messages   t 00h 500hPa | t 00h 850hPa | t2m 00h | t 06h 500hPa | ...        in any order
    groups     t: what agrees in parameter, type of level, kind of step
    axes       time, step, number, level: the values that a group has
    table      t[time, level] = message

Pure: nothing here opens a file. An axis of one value is a scalar, except the one that samples are drawn from.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maelio.converters.grib_facts import Facts
from maelio.converters.problems import Problem, problem
from maelio.converters.storage import Field

DIRECTION, FREQUENCY, LEVEL, NUMBER, STEP, TIME = (
    "directionNumber", "frequencyNumber", "level", "number", "step", "time",
)  # fmt: skip
_DECREASING = ("isobaricInhPa", "isobaricInPa")  # from the ground up
_TAKEN = frozenset(
    {TIME, STEP, NUMBER, "valid_time", "latitude", "longitude", "y", "x", "values", "variable"}
)

Place = tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A field: what it is, the number of its grid, its reference time in seconds since 1970."""

    facts: Facts
    grid: int
    time: int
    field: Field

    def at(self) -> dict[str, float | None]:
        """Where it belongs in a hypercube."""
        facts = self.facts
        return {
            TIME: self.time,
            STEP: facts.step_s / 3600,
            NUMBER: facts.number,
            LEVEL: facts.level,
            DIRECTION: facts.direction,
            FREQUENCY: facts.frequency,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """A variable: its axes by what they are, each with the coordinate that holds it, and its messages.

    `coordinates` are all that it has; `dimensions` are those of them with more than one value, or with samples.
    Shape: `fields` is an object array of `Field` over `dimensions`, None where a message is missing.
    """

    name: str
    members: tuple[Message, ...]
    axes: Mapping[str, tuple[float, ...]]
    coordinates: Mapping[str, str]
    dimensions: tuple[str, ...]
    fields: NDArray[np.object_]

    @property
    def facts(self) -> Facts:
        return self.members[0].facts


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of files: the coordinate to draw samples from, the variables (default: all), and which of
    two messages for one place to take."""

    samples: str
    variables: Sequence[str] | None = None
    keep_last: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Arranged:
    """The variables of a file by name, as they are if what is wrong with them is accepted. `names` are all there."""

    cubes: tuple[Cube, ...]
    names: tuple[str, ...]
    problems: tuple[Problem, ...]


def arrange(path: Path, messages: Sequence[Message], grids: Sequence[str], asked: Asked) -> Arranged:
    """Variables out of messages. What is wrong: a message is missing or occurs twice, variables differ in their
    samples or their grid; in the last case there are no variables."""
    groups = _named([part for group in _groups(_in_order(messages)) for part in _told_apart(group)], grids)
    names = tuple(sorted(groups))
    if asked.variables is not None:
        groups = {name: group for name, group in groups.items() if name in asked.variables}
    if not groups:
        none = problem(
            "grid", path, f"has none of the variables {', '.join(asked.variables or ())}", "one or more"
        )
        return Arranged((), names, (none,))
    problems = [each for name in sorted(groups) for each in _doubles(path, name, groups[name])]
    groups = {name: _once(group, asked.keep_last) for name, group in groups.items()}
    if (other := _other_grid(path, groups, grids)) is not None:
        return Arranged((), names, (*problems, other))
    axes = {name: _axes(group) for name, group in groups.items()}
    problems += [each for name, group in groups.items() for each in _holes(path, name, group, axes[name])]
    sampled = _sample_axes(groups, _coordinates(groups, axes), asked.samples)
    problems += _other_samples(path, groups, axes, sampled, asked.samples)
    axes = _with_all_samples(axes, sampled, asked.samples)
    coordinates = _coordinates(groups, axes)
    cubes = tuple(
        _cube(name, groups[name], axes[name], coordinates[name], asked.samples) for name in sorted(groups)
    )
    return Arranged(cubes, names, tuple(problems))


def _in_order(messages: Iterable[Message]) -> list[Message]:
    """An order that the file has no part in."""
    told = {id(message.facts): repr(sorted(message.facts.telling.items())) for message in messages}
    return sorted(messages, key=lambda message: (*_place(message), told[id(message.facts)]))


def _groups(messages: Iterable[Message]) -> list[list[Message]]:
    groups: dict[tuple[object, ...], list[Message]] = defaultdict(list)
    for message in messages:
        facts = message.facts
        optional = tuple(value is None for value in (facts.number, facts.direction, facts.frequency))
        kind = (facts.name, facts.parameter, facts.level_type, facts.step_type)
        groups[*kind, optional, message.grid].append(message)
    return list(groups.values())


def _told_apart(group: list[Message]) -> Iterator[list[Message]]:
    """A group, in parts where two of its messages have one place and something known tells them apart."""
    seen: dict[Place, Message] = {}
    for message in group:
        other = seen.setdefault(_place(message), message)
        if other is message:
            continue
        first, second = sorted((other, message), key=lambda found: found.field.number)
        for key in (*first.facts.telling, *second.facts.telling):
            if first.facts.telling.get(key) != second.facts.telling.get(key):
                for part in _by(group, key):
                    yield from _told_apart(part)
                return
    yield group


def _doubles(path: Path, name: str, group: Sequence[Message]) -> Iterator[Problem]:
    """Messages for one place that nothing tells apart."""
    for same in _by_place(group).values():
        if len(same) > 1:
            numbers = " and ".join(str(message.field.number) for message in same)
            place = _show(same[0].at(), same[0].facts.level_type)
            yield problem(
                "duplicate", path, f"has messages {numbers} for the same {place}", "one", variable=name
            )


def _once(group: Sequence[Message], keep_last: bool) -> list[Message]:
    return [same[-1 if keep_last else 0] for same in _by_place(group).values()]


def _by_place(group: Sequence[Message]) -> dict[Place, list[Message]]:
    """In the order of the file where there are several."""
    places: dict[Place, list[Message]] = defaultdict(list)
    for message in group:
        places[_place(message)].append(message)
    return {place: sorted(same, key=lambda found: found.field.number) for place, same in places.items()}


def _by(group: Sequence[Message], key: str) -> list[list[Message]]:
    parts: dict[object, list[Message]] = defaultdict(list)
    for message in group:
        parts[message.facts.telling.get(key)].append(message)
    return list(parts.values())


def _place(message: Message) -> Place:
    return tuple(value for value in message.at().values() if value is not None)


def _named(groups: Iterable[list[Message]], grids: Sequence[str]) -> dict[str, list[Message]]:
    """Names as eccodes has them; where several groups have one, with as little behind it as tells them apart."""
    by_name: dict[str, list[list[Message]]] = defaultdict(list)
    for group in groups:
        name = group[0].facts.name
        by_name[f"{name}_field" if name in _TAKEN else name].append(group)
    named = {}
    for name, same in by_name.items():
        for suffix, group in zip(_suffixes(same, grids), same, strict=True):
            named[name + suffix] = group
    return named


def _suffixes(groups: Sequence[list[Message]], grids: Sequence[str]) -> list[str]:
    if len(groups) == 1:
        return [""]
    keys = sorted({key for group in groups for message in group for key in message.facts.telling})
    labels = [_labels(group, keys, grids) for group in groups]
    telling = [key for key in labels[0] if len({label[key] for label in labels}) > 1]
    for count in range(1, len(telling) + 1):
        for said in combinations(telling, count):
            suffixes = ["".join(f"_{label[key]}" for key in said if label[key]) for label in labels]
            if len(set(suffixes)) == len(suffixes):
                return suffixes
    return [f"_{number + 1}" for number in range(len(groups))]


def _labels(group: Sequence[Message], keys: Iterable[str], grids: Sequence[str]) -> dict[str, str]:
    """What a name may say besides the parameter, what says most first. Empty where members differ in it."""
    facts = group[0].facts
    labels: dict[str, str] = {"level_type": facts.level_type, "step_type": facts.step_type}
    for key in ("bottomLevel", "startStep", "dataType", *keys):
        values = {message.facts.telling.get(key) for message in group}
        label = str(values.pop()) if len(values) == 1 and None not in values else ""
        if key == "startStep" and label:
            label = f"{int(label) // 60}min" if int(label) % 3600 else f"{int(label) // 3600}h"
        labels[key] = "".join(letter if letter.isalnum() else "_" for letter in label)
    labels["parameter"] = "_".join(map(str, facts.parameter))
    labels["grid"] = grids[group[0].grid].replace(" x ", "x").replace(" ", "_")
    return labels


def _other_grid(path: Path, groups: Mapping[str, list[Message]], grids: Sequence[str]) -> Problem | None:
    first: tuple[str, Message] | None = None
    for name in sorted(groups):
        for message in groups[name]:
            first = first or (name, message)
            if message.grid != first[1].grid:
                fitting = [
                    name for name in sorted(groups) if {m.grid for m in groups[name]} == {first[1].grid}
                ]
                found = problem(
                    "grid", path,
                    f"lies on the grid {grids[message.grid]} (message {message.field.number}), {first[0]!r} on "
                    f"{grids[first[1].grid]} (message {first[1].field.number})",
                    "one grid", variable=name,
                )  # fmt: skip
                hint = f"--variables {','.join(fitting)} takes one grid" if fitting else None
                return replace(found, hint=hint)
    return None


def _axes(group: Sequence[Message]) -> dict[str, tuple[float, ...]]:
    found: dict[str, set[float]] = defaultdict(set)
    for message in group:
        for axis, value in message.at().items():
            if value is not None:
                found[axis].add(value)
    down = group[0].facts.level_type in _DECREASING
    return {axis: tuple(sorted(values, reverse=axis == LEVEL and down)) for axis, values in found.items()}


def _holes(
    path: Path, name: str, group: Sequence[Message], axes: Mapping[str, tuple[float, ...]]
) -> Iterator[Problem]:
    wanted = int(np.prod([len(values) for values in axes.values()]))
    if len(group) == wanted:
        return
    there = {_place(message) for message in group}
    place = next(place for place in product(*axes.values()) if place not in there)
    shown = _show(dict(zip(axes, place, strict=True)), group[0].facts.level_type)
    sizes = " x ".join(f"{len(values)} {axis}" for axis, values in axes.items() if len(values) > 1)
    yield problem(
        "messages", path, f"has {len(group)} messages", f"{wanted} ({sizes}): there is none for {shown}", variable=name
    )  # fmt: skip


def _coordinates(
    groups: Mapping[str, list[Message]], axes: Mapping[str, Mapping[str, tuple[float, ...]]]
) -> dict[str, dict[str, str]]:
    """The coordinate for every axis of every variable. Axes of one kind with other values get other names.

    The longest keeps the plain name: time, step, isobaricInhPa; others are isobaricInhPa_2, ...
    """
    values: dict[str, Counter[tuple[float, ...]]] = defaultdict(Counter)
    order: dict[str, dict[tuple[float, ...], None]] = defaultdict(dict)
    for name in sorted(groups):
        for axis, found in axes[name].items():
            base = groups[name][0].facts.level_type if axis == LEVEL else axis
            values[base][found] += 1
            order[base].setdefault(found)
    names: dict[str, dict[tuple[float, ...], str]] = {}
    for base, counted in values.items():
        ranked = sorted(order[base], key=lambda found: (-len(found), -counted[found]))
        names[base] = {found: base if at == 0 else f"{base}_{at + 1}" for at, found in enumerate(ranked)}
    return {
        name: {
            axis: names[group[0].facts.level_type if axis == LEVEL else axis][axes[name][axis]]
            for axis in axes[name]
        }
        for name, group in groups.items()
    }


def _sample_axes(
    groups: Mapping[str, list[Message]], coordinates: Mapping[str, Mapping[str, str]], samples: str
) -> dict[str, str | None]:
    """The axis of each variable that samples are drawn from."""
    return {
        name: next((axis for axis, found in coordinates[name].items() if _base(found, samples)), None)
        for name in sorted(groups)
    }


def _other_samples(
    path: Path,
    groups: Mapping[str, list[Message]],
    axes: Mapping[str, Mapping[str, tuple[float, ...]]],
    sampled: Mapping[str, str | None],
    samples: str,
) -> Iterator[Problem]:
    """Every variable has every sample: one that ends early is a hole, not another dimension."""
    having = {name: axes[name][axis] if axis else () for name, axis in sampled.items()}
    model = max(sorted(having), key=lambda name: len(having[name]))
    everything = {value for values in having.values() for value in values}
    fitting = [name for name, values in having.items() if {*values} == everything]
    for name, values in having.items():
        missing = sorted(everything - {*values})
        if missing:
            whose = f"that {model!r} has" if len(everything) == len(having[model]) else "that there are"
            found = problem(
                "messages", path, f"has {len(values)} of the {len(everything)} values of {samples} {whose}",
                f"all, there is none for {_show({samples: missing[0]}, samples)}",
                variable=name, but=() if sampled[name] else ["fill"],
            )  # fmt: skip
            hint = f"--variables {','.join(fitting)} takes those that fit" if fitting else None
            yield replace(found, hint=hint)


def _with_all_samples(
    axes: Mapping[str, dict[str, tuple[float, ...]]], sampled: Mapping[str, str | None], samples: str
) -> dict[str, dict[str, tuple[float, ...]]]:
    """The axes as they are when every variable has every sample; levels of pressure from the ground up."""
    everything = {value for name, axis in sampled.items() if axis for value in axes[name][axis]}
    down = any(_base(samples, kind) for kind in _DECREASING)
    extended = {}
    for name, own in axes.items():
        axis = sampled[name]
        if axis:
            own = {**own, axis: tuple(sorted(everything, reverse=down))}
        extended[name] = own
    return extended


def _base(coordinate: str, samples: str) -> bool:
    head, _, tail = coordinate.rpartition("_")
    return coordinate == samples or (head == samples and tail.isdigit())


def _cube(
    name: str,
    group: Sequence[Message],
    axes: Mapping[str, tuple[float, ...]],
    coordinates: Mapping[str, str],
    samples: str,
) -> Cube:
    shown = [axis for axis in axes if len(axes[axis]) > 1 or coordinates[axis] == samples]
    places = {axis: {value: at for at, value in enumerate(axes[axis])} for axis in shown}
    fields = np.empty([len(axes[axis]) for axis in shown], object)
    for message in group:
        at = message.at()
        fields[tuple(places[axis][value] for axis in shown if (value := at[axis]) is not None)] = (
            message.field
        )
    members = tuple(sorted(group, key=_place))
    return Cube(name, members, axes, coordinates, tuple(coordinates[axis] for axis in shown), fields)


def _show(place: Mapping[str, float | None], level_type: str) -> str:
    shown = []
    for axis, value in place.items():
        if value is None:
            continue
        if axis == TIME:
            shown.append(f"time {datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%S}")
        elif axis == LEVEL:
            shown.append(f"{level_type} {value:g}")
        else:
            shown.append(f"{axis} {value:g}{' h' if axis == STEP else ''}")
    return ", ".join(shown)

"""A recipe: what a benchmark trains, which of it may be changed, and how good the outcome must be.

    name: next-year
    fixed:                      # nobody changes these: they are what is compared
      model: {use: "maelio.benchmarks.applications.unet:UNet", args: {width: 8}}
      data: {dataset: maelio-hadgem, train: {scenario: E1}, validation: {scenario: A1B}}
      epochs: 5
    mutable:                    # these a system may choose: --set optimizer.lr=1e-3
      batch_size: 16
      loss: {use: "torch.nn:MSELoss"}
      optimizer: {use: "torch.optim:Adam", args: {lr: 0.001}}
    metrics:
      - {metric: validation_loss, better: lower, acceptable: 0.5}

As Python values and as YAML it is the same: `Recipe.read`, `Recipe.text`.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

import yaml
from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError, with_config

from maelio.errors import BadRequest, MaelioError, NotFound

Arguments = dict[str, JsonValue]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Part:
    """What is made by a call: `use` names a class or a function as `module:name`, `args` are keywords of it."""

    use: str
    args: Arguments = field(default_factory=dict)

    def callable(self) -> Callable[..., Any]:
        """Raises NotFound: there is no such module or name."""
        module, _, name = self.use.partition(":")
        try:
            found: Callable[..., Any] = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise NotFound(f"use={self.use!r}: {error}; wanted module:name") from None
        return found

    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.callable()).parameters

    def build(self, *first: Any, **given: Any) -> Any:
        """Call it with `first`, with `args`, and with those of `given` that it asks for and `args` do not set.

        Raises BadRequest: `args` do not fit it.
        """
        asked = {name: value for name, value in given.items() if name in self.parameters()}
        try:
            bound = inspect.signature(self.callable()).bind(*first, **{**asked, **self.args})
        except TypeError as error:
            raise BadRequest(f"{self.use}: {error}; it takes {', '.join(self.parameters())}") from None
        return self.callable()(*bound.args, **bound.kwargs)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Data:
    """A climetlab dataset by its name, and the arguments that give its part to train on and its part to validate with.

    `stream` are options of `maelio.stream` that say what a sample is (inputs, targets, window, levels ...).
    """

    dataset: str
    train: Arguments
    validation: Arguments
    stream: Arguments = field(default_factory=dict)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Setup:
    """All that a training needs.

    A `task` says what of a batch goes into the model and what it is compared with; see `maelio.benchmarks.recipes.tasks`.
    `scores` are metrics of torchmetrics, of the validation data after the last epoch. `scheduler` takes a step with
    every batch. `loader` are options of `maelio.stream` that change how fast it is and not what it delivers.
    """

    model: Part
    data: Data
    epochs: int
    batch_size: int
    loss: Part
    optimizer: Part
    task: Part = Part("maelio.benchmarks.recipes.tasks:maps")
    scheduler: Part | None = None
    scores: dict[str, Part] = field(default_factory=dict)
    loader: Arguments = field(default_factory=dict)
    seed: int = 0


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Criterion:
    """A run passes where `metric` is at least as good as `acceptable`."""

    metric: str
    better: Literal["lower", "higher"]
    acceptable: float

    def met(self, value: float) -> bool:
        """NaN never is."""
        return value <= self.acceptable if self.better == "lower" else value >= self.acceptable


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True)
class Recipe:
    """`fixed` and `mutable` are fields of a `Setup`, each in one of them.

    Raises BadRequest: a field is in both or in none that has no default, or is not what a `Setup` wants.
    """

    name: str
    fixed: dict[str, Any]
    mutable: dict[str, Any]
    metrics: tuple[Criterion, ...] = ()

    def __post_init__(self) -> None:
        if both := sorted(set(self.fixed) & set(self.mutable)):
            raise BadRequest(
                f"recipe {self.name!r}: {', '.join(both)} is fixed and mutable; wanted one of both"
            )
        self.setup  # noqa: B018  # refuses what does not fit, here and now

    @property
    def setup(self) -> Setup:
        setup: Setup = _checked(TypeAdapter(Setup), {**self.fixed, **self.mutable}, f"recipe {self.name!r}")
        return setup

    def set(self, assignments: Sequence[str]) -> Self:
        """`field=value` or `part.argument=value`, in order; the value is YAML and gets the type that is wanted there.

        Raises BadRequest: the field is fixed or unknown, or the value does not fit.
        """
        recipe = self
        for assignment in assignments:
            place, equals, value = assignment.partition("=")
            if not equals or not place:
                raise BadRequest(f"{assignment!r}; wanted FIELD=VALUE or PART.ARGUMENT=VALUE")
            recipe = recipe._assign(place.split("."), _parsed(value, assignment), assignment)
        return recipe

    def _assign(self, path: list[str], value: Any, said: str) -> Self:
        name, *inside = path
        if name in self.fixed:
            raise BadRequest(
                f"{said!r}: {name} is fixed in recipe {self.name!r}; mutable: {', '.join(sorted(self.mutable))}"
            )
        if name not in (known := [one.name for one in fields(Setup)]):
            raise BadRequest(f"{said!r}: no field {name!r}; wanted one of {', '.join(known)}")
        if inside:
            held = getattr(self.setup, name)
            value = _inside(held, inside, value, said)
        return replace(self, mutable={**self.mutable, name: value})

    def passed(self, metrics: Mapping[str, float]) -> list[str]:
        """What is not good enough, one line each; empty where the run has passed."""
        return [
            f"{one.metric}={metrics.get(one.metric, float('nan')):.6g}, wanted "
            f"{'at most' if one.better == 'lower' else 'at least'} {one.acceptable:.6g}"
            for one in self.metrics
            if not one.met(metrics.get(one.metric, float("nan")))
        ]

    def text(self) -> str:
        """As YAML, from which `parse` makes an equal recipe."""
        plain = TypeAdapter(Recipe).dump_python(self)
        text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False)
        return text

    @classmethod
    def parse(cls, text: str, source: str = "the recipe") -> "Recipe":
        """Raises BadRequest: not YAML, or no recipe; names the place."""
        recipe: Recipe = _checked(TypeAdapter(Recipe), _parsed(text, source), source)
        return recipe

    @classmethod
    def read(cls, path: Path) -> "Recipe":
        """Raises NotFound, and what `parse` raises."""
        try:
            return cls.parse(path.read_text(), str(path))
        except FileNotFoundError:
            raise NotFound(f"{path}: no such recipe") from None


def _inside(held: Any, path: list[str], value: Any, said: str) -> Any:
    """`held` with `value` at `path` inside, as plain values."""
    name, *deeper = path
    if isinstance(held, Part):
        if name == "use" and not deeper:
            return {"use": value, "args": held.args}
        if deeper:
            raise BadRequest(f"{said!r}; wanted PART.ARGUMENT=VALUE")
        return {"use": held.use, "args": {**held.args, name: _typed(held, name, value, said)}}
    if isinstance(held, Data):
        plain = {one.name: getattr(held, one.name) for one in fields(Data)}
    elif isinstance(held, dict):
        plain = dict(held)
    else:
        raise BadRequest(f"{said!r}: {held!r} has no parts")
    plain[name] = _inside(plain.get(name, {}), deeper, value, said) if deeper else value
    return plain


def _typed(part: Part, name: str, value: Any, said: str) -> JsonValue:
    """`value` as the type that `part` annotates its argument `name` with."""
    parameters = part.parameters()
    if name not in parameters:
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
            return value  # type: ignore[no-any-return]
        raise BadRequest(f"{said!r}: {part.use} takes {', '.join(parameters)}")
    made = part.callable()
    hints = get_type_hints(made.__init__ if inspect.isclass(made) else made)
    if name not in hints:
        return value  # type: ignore[no-any-return]
    adapter = TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True))
    typed: JsonValue = _checked(adapter, value, repr(said))
    return typed


class _Loader(yaml.SafeLoader):
    """Plain values alone; 1e-3 is a number, as YAML 1.2 and everybody else has it."""


class _Dumper(yaml.SafeDumper):
    """Puts quotes around texts that `_Loader` would take for numbers."""


_POWER_OF_TEN = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
for each in (_Loader, _Dumper):
    each.add_implicit_resolver("tag:yaml.org,2002:float", _POWER_OF_TEN, list("-+0123456789"))


def _parsed(text: str, source: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise BadRequest(f"{source} is not YAML: {' '.join(str(error).split())}") from None


def _checked(adapter: TypeAdapter[Any], value: Any, source: str) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(ours := first.get("ctx", {}).get("error"), MaelioError):
            raise ours from None
        place = ".".join(str(part) for part in first["loc"])
        raise BadRequest(f"{source}: {place}{': ' if place else ''}{first['msg']}") from None

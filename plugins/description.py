"""What a dataset is, as data: its arguments, its files, its variables, and by whom it is given under what terms.

All else follows from it: what is refused, the URLs, the class, its page in the documentation, and what a stand-in is asked for.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import Parameter, Signature
from itertools import product
from typing import Any

from pydantic import JsonValue

from maelio.errors import BadRequest
from maelio.plugins.legal import Dates, Illegal, Legal, listed, nearest_word

log = logging.getLogger(__name__)

OBJECT_STORE = "https://object-store.os-api.cci1.ecmwf.int"
"""Where the files of MAELSTROM are: https://www.maelstrom-eurohpc.eu."""

Arguments = Mapping[str, Any]
"""By name, each in the one spelling that its legal values give it."""


@dataclass(frozen=True, slots=True)
class Argument:
    """`many`: several values may be given, and always make a list. One without a default (`required`) must be given.

    None is taken where it is the default.
    """

    name: str
    legal: Legal
    default: JsonValue = None
    many: bool = False
    required: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """Dimensions in the order of the file. `unit` as UDUNITS spells it, "1" for none."""

    name: str
    dims: tuple[str, ...]
    unit: str
    about: str = ""
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Files:
    """A pattern, and of each of its fields the values: one file for every combination. `{url}` is the server."""

    pattern: str
    fields: Mapping[str, Sequence[JsonValue]]


@dataclass(frozen=True, slots=True)
class Request:
    """One file: where it is, and the values that filled its pattern."""

    url: str
    fields: Mapping[str, JsonValue]


def _no_rule(_: Arguments) -> str | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Description:
    """A dataset.

    `files` says, of arguments that are legal, what they mean. `subsets`: of each label that the argument `subset_argument`
    may have, the values of other arguments, which come before those that were given. `rule` says what is wrong with a
    combination, in words that follow the dataset's name. `minimal` are arguments that will do. `withheld` says why
    there is no file at all, only a stand-in. `version` is that of the data, or of the plugin that they were published with.
    `same_as`: the id of which this is another name. `samples`: the dimension that training draws samples from. `chunks`: how much
    xarray reads at once unless it is told. `whole`: the data are what is in the files, one behind the other.
    """

    id: str
    title: str
    about: str
    version: str
    arguments: tuple[Argument, ...]
    files: Callable[[Arguments], Iterable[Files]]
    sizes: Mapping[str, int | None]
    variables: tuple[Variable, ...]
    licence: str
    home_page: str
    citation: str = "-"
    terms_of_use: str | None = None
    server: str = OBJECT_STORE
    subset_argument: str = "subset"
    subsets: Mapping[str, Arguments] = field(default_factory=dict)
    rule: Callable[[Arguments], str | None] = _no_rule
    minimal: Arguments = field(default_factory=dict)
    withheld: str | None = None
    same_as: str | None = None
    samples: str | None = None
    chunks: Mapping[str, int] = field(default_factory=dict)
    whole: bool = True

    @property
    def key(self) -> str:
        """By which the files are known, whatever the name that they were asked for by."""
        return self.same_as or self.id

    def named(self, id: str) -> "Description":
        """The same data under another name."""
        return replace(self, id=id, same_as=self.key)

    @property
    def signature(self) -> Signature:
        """The arguments in their order, as Python shows them."""
        kind = Parameter.POSITIONAL_OR_KEYWORD
        return Signature(
            [
                Parameter(each.name, kind, default=Parameter.empty if each.required else each.default)
                for each in self.arguments
            ]
        )

    def bind(self, given: Sequence[Any], named: Arguments) -> dict[str, Any]:
        """All arguments by name, with defaults, in one spelling. Raises BadRequest: one line says what is wrong."""
        names = [each.name for each in self.arguments]
        if len(given) > len(names):
            raise self._refusal(f"{len(given)} arguments, takes {len(names)}: {', '.join(names)}")
        values = dict(zip(names, given, strict=False))
        for name, value in named.items():
            if name not in names:
                near = nearest_word(name, names)
                raise self._refusal(
                    f"no argument {name!r}"
                    + (f", nearest {near!r}" if near else f", takes: {', '.join(names)}")
                )
            if name in values:
                raise self._refusal(f"argument {name!r} was given twice")
            values[name] = value
        bound = {each.name: self._normal(each, values) for each in self.arguments}
        if (wrong := self.rule(bound)) is not None:
            raise self._refusal(wrong)
        return bound

    def requests(self, arguments: Arguments) -> tuple[Request, ...]:
        """The files that arguments mean, none of them twice: in the order in which CliMetLab reads them, which sorts URLs."""
        meant = self.resolved(self.bind((), arguments))
        found: dict[str, Request] = {}
        for files in self.files(meant):
            combined = [
                dict(zip(files.fields, values, strict=True)) for values in product(*files.fields.values())
            ]
            urls = {files.pattern.format(url=self.server, **fields): fields for fields in combined}
            found |= {url: Request(url, urls[url]) for url in sorted(urls)}
        return tuple(found.values())

    def resolved(self, bound: Arguments) -> dict[str, Any]:
        """Arguments with what their subset says in place of what was given beside it."""
        label = bound.get(self.subset_argument)
        return {**bound, **self.subsets.get(str(label), {})}

    def _normal(self, argument: Argument, values: Arguments) -> Any:
        if argument.name not in values:
            if argument.required:
                raise self._refusal(f"needs argument {argument.name!r}: {argument.legal}")
            if argument.default is None:
                return None
        value = values.get(argument.name, argument.default)
        if value is None and argument.default is None and not argument.required:
            return None
        if not argument.many:
            (single,) = several if len(several := listed(value)) == 1 else (value,)
            return self._single(argument, single)
        several = [one for each in listed(value) for one in self._expanded(argument, each)]
        if not several:
            raise self._refusal(f"{argument.name} {value!r}: names none")
        return list(dict.fromkeys(several))

    def _expanded(self, argument: Argument, value: Any) -> list[Any]:
        """`a/to/b` and `a/b/c` are several dates, as in CliMetLab."""
        if not isinstance(argument.legal, Dates):
            return [self._single(argument, value)]
        parts = value.split("/") if isinstance(value, str) else [value]
        normal = [self._single(argument, each) for each in parts if each != "to"]
        if len(parts) == 3 and parts[1] == "to":
            return [*argument.legal.between(normal[0], normal[1])]
        there = [each for each in normal if each not in argument.legal.gaps]
        for each in normal:
            if each in argument.legal.gaps:
                log.warning("dataset %r: %s %s has no file and is left out", self.id, argument.name, each)
        return there

    def _single(self, argument: Argument, value: Any) -> JsonValue:
        try:
            return argument.legal.normal(value)
        except Illegal as illegal:
            near = "" if illegal.nearest is None else f", nearest {illegal.nearest}"
            raise self._refusal(f"{argument.name} {value!r}: must be {argument.legal}{near}") from None

    def _refusal(self, text: str) -> BadRequest:
        return BadRequest(f"dataset {self.id!r}: {text}")

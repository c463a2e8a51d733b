"""The tree of expected errors."""

import inspect
import re

import pytest

from maelio import errors
from maelio.errors import MaelioError

CLASSES = [
    value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, MaelioError)
]
DRAWN = re.findall(r"(\w+)\s+exit (\d+)", errors.__doc__ or "")


def test_the_drawn_tree_names_every_class_with_its_exit_code() -> None:
    assert sorted(DRAWN) == sorted((error.__name__, str(error.exit_code)) for error in CLASSES)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.BadRequest, ValueError),
        (errors.NotFound, FileNotFoundError),
        (errors.NotPermitted, PermissionError),
        (errors.BadSetting, ValueError),
        (errors.Missing, ImportError),
    ],
)
def test_who_expects_the_builtin_error_catches_ours(
    error: type[MaelioError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="what was found"):
        raise error("what was found")


def test_no_error_ends_as_success_or_as_an_interrupt() -> None:
    assert all(0 < error.exit_code < 128 for error in CLASSES)

"""The house as docs/architecture.md draws it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

BELOW = {
    "maelio": set[str](),
    "plugins": {"maelio", "converters", "loaders"},
    "converters": {"maelio"},
    "loaders": {"maelio"},
    "benchmarks": {"maelio", "plugins", "converters", "loaders"},
    "flows": {"maelio", "plugins", "converters", "loaders", "benchmarks"},
}
"""Whom each component may import, beside itself. The command line stands outside: it looks at all of them."""

COMPONENTS = tuple(name for name in BELOW if name != "maelio")
LAZY = {Path("maelio/__init__.py")}  # names of components, imported when first used


def modules(component: str) -> list[Path]:
    """Python files of a component, relative to the root; its own folder only, not what is linked into it."""
    found = [
        Path(folder, name).relative_to(ROOT)
        for folder, _, names in os.walk(ROOT / component)
        for name in names
        if name.endswith(".py")
    ]
    return sorted(found)


def is_command_line(path: Path) -> bool:
    return path.parts[:2] == ("maelio", "cli")


def imported(path: Path) -> set[str]:
    """Full names that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the full name, a flow is loaded by path"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def component_of(name: str) -> str | None:
    """The component that a full name belongs to; None outside maelio."""
    first, _, rest = name.partition(".")
    if first != "maelio":
        return None
    second = rest.partition(".")[0]
    return second if second in COMPONENTS else "maelio"


@pytest.mark.parametrize("component", BELOW)
def test_imports_point_one_way(component: str) -> None:
    allowed = BELOW[component] | {component}
    wrong = {
        f"{path} imports {name}"
        for path in modules(component)
        if not is_command_line(path) and path not in LAZY
        for name in imported(path)
        if (found := component_of(name)) and found not in allowed
    }
    assert not wrong


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_is_a_relative_link_to_its_folder(component: str) -> None:
    assert os.readlink(ROOT / "maelio" / component) == f"../{component}"


def test_import_maelio_costs_nothing() -> None:
    code = "import sys; before = set(sys.modules); import maelio; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    roots = {name.partition(".")[0] for name in run.stdout.split()}
    assert not {name for name in roots if name not in sys.stdlib_module_names and name != "maelio"}


def line_of(module: str) -> str:
    docstring = ast.get_docstring(ast.parse((ROOT / module).read_text())) or ""
    return f"| `{module}` | {docstring.partition(chr(10))[0]} |"


def test_every_module_has_a_line_in_the_architecture_and_every_line_a_module() -> None:
    """Lines of the page look like: | `converters/plan.py` | what it is |"""
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"^\| `([\w/]+\.py)` \|", page, re.MULTILINE)
    there = {
        path.as_posix()
        for component in BELOW
        for path in modules(component)
        if path.name != "__init__.py" or is_command_line(path) or path in LAZY
    }
    assert not there - set(named), "add to docs/architecture.md:\n" + "\n".join(
        map(line_of, sorted(there - set(named)))
    )
    assert sorted(named) == sorted(there)


def test_pages_link_to_files_that_are_there() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"

"""What a user installs is the whole of it."""

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_architecture import BELOW, modules

PROBE = """
import importlib, pathlib, sys, warnings
warnings.simplefilter("ignore")  # of third parties; what matters here is where things come from
sys.path.append(sys.argv[1])  # dependencies only: appended by hand, so that its .pth files are not read
home = pathlib.Path(sys.argv[2]).resolve()
for name in sys.argv[3:]:
    file = importlib.import_module(name).__file__
    assert home in pathlib.Path(file).resolve().parents, f"{name} came from {file}"
print(len(sys.argv[3:]), "modules")
"""


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    inside = parts if parts[0] == "maelio" else ("maelio", *parts)
    return ".".join(inside[:-1] if inside[-1] == "__init__" else inside)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that what an earlier build left behind cannot mend it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in BELOW:
        shutil.copytree(
            ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.endswith(".py")}
    wanted = {path.as_posix() for path in modules("maelio")}
    wanted |= {
        f"maelio/{path.as_posix()}"
        for component in BELOW
        if component != "maelio"
        for path in modules(component)
    }
    assert held == wanted


@pytest.mark.slow
def test_every_module_imports_from_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    install: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    subprocess.run(install, check=True)
    names = [dotted(path) for component in BELOW for path in modules(component)]
    probe: list[str | Path] = [python, "-I", "-c", PROBE, sysconfig.get_path("purelib"), home, *names]
    run = subprocess.run(probe, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-2:] == [str(len(names)), "modules"]


def test_typed_code_says_so() -> None:
    """A type checker believes annotations only where py.typed stands."""
    assert (ROOT / "maelio" / "py.typed").exists()


def test_every_pinned_version_is_one_that_is_allowed() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    for requirement in map(Requirement, stated):
        name = canonicalize_name(requirement.name)
        if name != "maelio":
            assert requirement.specifier.contains(versions[name]), (
                f"{requirement} but {name}=={versions[name]}"
            )


def test_pins_are_sorted_and_of_public_versions() -> None:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert pins == sorted(pins, key=str.upper)
    assert not [pin for pin in pins if "+" in pin or "@" in pin or "/" in pin]

"""The recipes that maelio has, one YAML file each."""

from pathlib import Path

from maelio.errors import NotFound

PATHS = sorted((Path(__file__).parent / "library").glob("*.yaml"))


def find(name: str) -> Path:
    """The file of that name, or else the recipe of that name here. Raises NotFound: neither is there."""
    names = {path.stem: path for path in PATHS}
    if Path(name).is_file():
        return Path(name)
    if name not in names:
        raise NotFound(f"{name}: no such file, and no recipe of that name; there are {', '.join(names)}")
    return names[name]

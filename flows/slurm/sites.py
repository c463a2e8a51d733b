"""Site files: what a cluster asks of every job."""

import tomllib
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from maelio.errors import BadSetting, NotFound
from maelio.flows.slurm.job import Job, over


def with_site(job: Job) -> Job:
    """The job with the defaults of its site. Raises as `read_site`."""
    return job if job.site is None else over(read_site(job.site), job)


def read_site(name: str) -> Job:
    """The site file of this name that comes with maelio, or the one at this path (it ends with `.toml`).

    Raises:
        NotFound: there is none.
        BadSetting: it is no TOML, or holds what is no variable of a job.
    """
    path = (
        Path(name) if name.endswith(".toml") else Path(str(files("maelio.flows"))) / "sites" / f"{name}.toml"
    )
    try:
        return Job(**tomllib.loads(path.read_text()))
    except FileNotFoundError:
        raise NotFound(
            f"site {name!r}: no file {path}; wanted one of {', '.join(site_names())}, or a path"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path}: no TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadSetting(f"{path}: {where}: {first['msg']}, found {first['input']!r}") from None


def site_names() -> list[str]:
    """Those that come with maelio."""
    folder = Path(str(files("maelio.flows"))) / "sites"
    return sorted(path.stem for path in folder.glob("*.toml"))

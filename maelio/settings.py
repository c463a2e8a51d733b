"""What a user may set once: `MAELIO_*` variables over a TOML file over defaults."""

import os
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from maelio.errors import BadSetting
from maelio.files import parse_bytes


def _size(value: object) -> object:
    return parse_bytes(value) if isinstance(value, str) else value


def _paths(value: object) -> object:
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_paths)]


class Settings(BaseSettings):
    """`cache`: converted copies of datasets, and files behind URLs. `runs`: run records.

    `memory`: the most a conversion may hold. `threads`: the workers of a conversion or a stream.
    `power_command` prints the power of this node in W.

    Files behind URLs are looked for in `mirrors`, which are only read (`/a:/b` in the environment), in
    `shared_cache`, which exists and is written by many, and in `cache`; they are fetched into the first of the last
    two that takes them. A cache holds at most `cache_limit` bytes and leaves `cache_spare` of its disk free. With
    `offline` nothing is fetched. A fetch has so many `connections` at once, bears `silence_s` without a byte on one of
    them, and a failing server for `patience_s` after the last byte.

    With `climetlab`, what CliMetLab itself downloads goes that way too.
    With `synthetic` datasets are stand-ins that are written here, of `synthetic_scale` times the sizes of the originals.
    """

    model_config = SettingsConfigDict(env_prefix="MAELIO_", frozen=True, extra="forbid")

    cache: Path = Field(default_factory=lambda: platformdirs.user_cache_path("maelio"))
    runs: Path = Path("runs")
    memory: Size = 2 * 2**30
    mirrors: Paths = ()
    shared_cache: Path | None = None
    cache_limit: Size | None = None
    cache_spare: Size = 2**30
    offline: bool = False
    connections: int = Field(default=16, ge=1)
    patience_s: float = Field(default=300, ge=0)
    silence_s: float = Field(default=60, gt=0)
    climetlab: bool = False
    synthetic: bool = False
    synthetic_scale: float = Field(default=0.01, gt=0)
    threads: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    power_command: str | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=settings_file())


def settings_file() -> Path:
    """The TOML file that is read if it exists; `MAELIO_CONFIG` names another."""
    return Path(os.environ.get("MAELIO_CONFIG") or platformdirs.user_config_path("maelio") / "config.toml")


def load_settings() -> Settings:
    """Raises BadSetting: names the setting, what was found and why it does not do."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise BadSetting(
            f"setting {name!r} = {first['input']!r}: {first['msg']} ({settings_file()} or MAELIO_*)"
        ) from error
    except ValueError as error:  # the TOML file itself
        raise BadSetting(f"{settings_file()}: {error}") from error

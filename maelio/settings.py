"""What a user may set once: `MAELIO_*` variables over a TOML file over defaults."""

import os
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from maelio.errors import BadSetting
from maelio.files import parse_bytes


def _size(value: object) -> object:
    return parse_bytes(value) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]


class Settings(BaseSettings):
    """`cache`: converted copies of datasets. `runs`: run records. `memory`: the most a conversion may hold.

    `threads` are the worker threads of a conversion or a stream. `power_command` prints the power of this node in W.
    """

    model_config = SettingsConfigDict(env_prefix="MAELIO_", frozen=True, extra="forbid")

    cache: Path = Field(default_factory=lambda: platformdirs.user_cache_path("maelio"))
    runs: Path = Path("runs")
    memory: Size = 2 * 2**30
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

"""What wins: the environment over the file over the defaults."""

from pathlib import Path

import pytest

from maelio.errors import BadSetting
from maelio.settings import load_settings, settings_file


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CACHE", "RUNS", "MEMORY", "THREADS"):
        monkeypatch.delenv(f"MAELIO_{name}", raising=False)
    path = tmp_path / "config.toml"
    monkeypatch.setenv("MAELIO_CONFIG", str(path))
    return path


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.memory == 2 * 2**30
    assert settings.runs == Path("runs")
    assert settings.threads >= 1


def test_the_file_beats_the_default_and_the_environment_beats_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('memory = "1GiB"\nthreads = 3\n')
    monkeypatch.setenv("MAELIO_THREADS", "5")
    settings = load_settings()
    assert (settings.memory, settings.threads, settings.runs) == (2**30, 5, Path("runs"))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("memory", "plenty", "is not a size"),
        ("memory", "0", "is not a size"),
        ("threads", "0", "greater than or equal to 1"),
        ("threads", "many", "valid integer"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_the_reason(
    name: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MAELIO_{name.upper()}", value)
    with pytest.raises(BadSetting, match=f"setting '{name}' = '{value}': .*{why}"):
        load_settings()


def test_a_setting_nobody_knows_is_refused(config: Path) -> None:
    config.write_text("treads = 3\n")
    with pytest.raises(BadSetting, match=r"'treads'.*config\.toml"):
        load_settings()


def test_a_file_that_is_not_toml_is_refused_by_name(config: Path) -> None:
    config.write_text("threads: 3\n")
    with pytest.raises(BadSetting, match=r"config\.toml"):
        load_settings()


def test_settings_do_not_change(config: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().threads = 3


def test_another_file_can_be_named(config: Path) -> None:
    assert settings_file() == config

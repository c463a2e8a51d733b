"""What happens where a program that a test needs is not installed."""

from collections.abc import Callable

import pytest


@pytest.fixture(autouse=True)
def nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def test_a_missing_program_skips_the_test_and_says_how_to_get_it(
    needs: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAELIO_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        needs("chromium")


def test_a_missing_program_that_is_required_fails_the_test(
    needs: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAELIO_REQUIRE", "postgres, chromium")
    with pytest.raises(pytest.fail.Exception, match="MAELIO_REQUIRE"):
        needs("chromium")

"""What a measurement ran on."""

import os
import platform

from maelio import __version__
from maelio.environment import PACKAGES, Environment, environment, installed


def test_every_package_that_matters_is_named_also_where_it_is_missing() -> None:
    assert tuple(environment().packages) == PACKAGES


def test_it_reads_back_as_it_was_written() -> None:
    here = environment()
    assert Environment.model_validate_json(here.model_dump_json()) == here


def test_it_is_this_machine() -> None:
    here = environment()
    assert here.python == platform.python_version()
    assert here.cores == len(os.sched_getaffinity(0))
    assert here.memory_bytes > 2**20


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert installed("no-package-has-this-name") is None


def test_the_installed_version_is_the_one_that_runs() -> None:
    assert installed("maelio") == __version__

"""Every error maelio raises on purpose.

    MaelioError                 exit 1
    ├── BadRequest              exit 2   mend the request (also a ValueError)
    ├── NotFound                exit 3   a file, dataset or store is not there (also a FileNotFoundError)
    │   └── Offline             exit 3   files are in no cache, and nothing may be fetched
    ├── NotPermitted            exit 4   a file cannot be read or a target not be written (also a PermissionError)
    ├── BadSetting              exit 5   mend the settings
    ├── BadData                 exit 6   mend the data: damaged, cut short, or not what it claims
    │   └── Inconsistent        exit 6   files that do not make one dataset
    ├── Missing                 exit 5   an optional part is not installed (also an ImportError)
    ├── Regression              exit 8   a run is slower than the one it is compared with, or worse than its recipe wants
    └── InvalidMeasurement      exit 9   what was timed is not what was meant to be: no number is given

A message is one line that names the file, the variable, the value found and the value wanted.
"""

from typing import ClassVar


class MaelioError(Exception):
    """An expected failure: one line for the user, no traceback."""

    exit_code: ClassVar[int] = 1


class BadRequest(MaelioError, ValueError):
    exit_code = 2


class NotFound(MaelioError, FileNotFoundError):
    exit_code = 3


class Offline(NotFound):
    """`missing`: the URLs, without secrets."""

    def __init__(self, message: str, missing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.missing = missing


class NotPermitted(MaelioError, PermissionError):
    exit_code = 4


class BadSetting(MaelioError, ValueError):
    exit_code = 5


class Missing(MaelioError, ImportError):
    exit_code = 5


class BadData(MaelioError):
    exit_code = 6


class Inconsistent(BadData):
    pass


class Regression(MaelioError):
    exit_code = 8


class InvalidMeasurement(MaelioError):
    exit_code = 9

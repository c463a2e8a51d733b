"""Let a finished folder stand under its name, in place of the store that is there: one of the two always is.

Linux exchanges two names in one step. Elsewhere there is a moment between two renames; whoever is killed in it
leaves `NAME.old-PID`, and the next conversion, which reads of it in the journal, puts it back.
"""

import ctypes
import errno
import logging
import os
import shutil
from pathlib import Path

from maelio.converters.journal import Journal, close_journal, has_journal, nobody_else, replaces
from maelio.store import may_be_store, unfinished

log = logging.getLogger(__name__)

_HERE = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE
_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # to the kernel or the file system


def replace(folder: Path, target: Path, journal: Journal) -> None:
    """Give `folder` the name `target` and remove what had it. Raises OSError."""
    if target.exists():
        old = target.with_name(f"{target.name}.old-{os.getpid()}")
        journal.will_replace([folder.name, old.name])
        if exchange(folder, target):
            os.rename(folder, old)
        else:
            os.rename(target, old)
            os.rename(folder, target)
    else:
        os.rename(folder, target)
    _clear_up(target)


def recover(target: Path) -> None:
    """Finish, or take back, what a `replace` had begun that was killed. Raises OSError."""
    building = unfinished(target)
    if has_journal(target):
        with nobody_else(target) as free:
            if free:
                _clear_up(target)
    elif has_journal(building) and not target.exists():
        with nobody_else(building) as free:
            for old in (target.with_name(name) for name in replaces(building) if name != building.name):
                if free and old.exists():
                    log.warning("%s stands again: it was about to be replaced when that was killed", target)
                    os.rename(old, target)


def _clear_up(target: Path) -> None:
    """Remove what the new store at `target` took the place of, then its journal."""
    building = unfinished(target)
    for old in (target.with_name(name) for name in replaces(target)):
        if old == building and (has_journal(old) or not may_be_store(old)):
            continue  # a later conversion
        if old.exists():
            shutil.rmtree(old)
    close_journal(target)


def exchange(one: Path, other: Path) -> bool:
    """Swap two names of one file system in one step. False: the system cannot.

    Raises OSError. Source: renameat2(2), flag RENAME_EXCHANGE.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))

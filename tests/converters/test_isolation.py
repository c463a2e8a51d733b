"""A damaged NetCDF4 file ends in one line, whatever it does to HDF5: that is in a process of its own."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from maelio.converters.compare import compare
from maelio.converters.convert import convert
from maelio.converters.dry_run import dry_run
from maelio.converters.formats import describe
from maelio.converters.hdf5 import Library, hdf5
from maelio.converters.isolation import Died
from maelio.converters.netcdf import read_slowly
from maelio.converters.options import Options
from maelio.errors import BadData, MaelioError
from tests.converters.hdf5_files import field, write_hdf5
from tests.converters.netcdf_files import write_netcdf


@contextmanager
def another_thread() -> Iterator[None]:
    """As torch and Prefect have them: no copy of the process may be made then."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def endless_heap(content: bytearray) -> None:
    """The free space behind the texts and references of attributes gets no size: HDF5 2.0 looks there again and again."""
    heap = content.index(b"GCOL")
    at = heap + 16
    while int.from_bytes(content[at : at + 2], "little"):  # zero is the number of the free space
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    content[at + 8 : at + 16] = bytes(8)


def references_as_text(content: bytearray) -> None:
    """References to dimensions are declared to be text: the NetCDF library 4.9 follows the null pointers of those."""
    name = b"DIMENSION_LIST\0\0"
    variable_length = b"\x19\0"
    at = content.index(name + variable_length) + len(name) + 1
    content[at] = 1


DAMAGES = (endless_heap, references_as_text)


def damaged(path: Path, damage: Callable[[bytearray], None]) -> Path:
    """A file with one dimension that has a name and two that have none, whose lists of references are empty."""
    with h5py.File(path, "w") as file:
        file["time"] = np.arange(4.0)
        file["time"].make_scale("time")
        file["t"] = np.ones((4, 2, 3), np.float32)
        file["t"].dims[0].attach_scale(file["time"])
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    return path


def refusal(attempt: Callable[..., object], *arguments: object) -> str | None:
    """What is said against it, if anything is."""
    try:
        attempt(*arguments)
    except MaelioError as error:
        return str(error)
    return None


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of processor time in place of a minute."""
    monkeypatch.setattr(hdf5, "_limit_s", 0.5)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("damage", DAMAGES)
def test_headers_that_crash_hdf5_or_keep_it_for_ever_are_one_line(
    tmp_path: Path, damage: Callable[[bytearray], None]
) -> None:
    """Or they are read, by a library that knows better; this process lives, and says the same without converting."""
    path = damaged(tmp_path / "a.nc", damage)
    for told in (
        refusal(convert, [path], tmp_path / "s.zarr"),
        refusal(compare, path, path),
    ):
        assert told is None or (str(path) in told and "\n" not in told)
    told = refusal(dry_run, [path], tmp_path / "t.zarr", Options())
    assert told is None or (str(path) in told and "\n" not in told)


@pytest.mark.usefixtures("short")
def test_one_of_several_is_left_out_if_so_said(tmp_path: Path) -> None:
    """The others are read by the next process."""
    whole = [write_netcdf(tmp_path / f"{at}.nc", {"t": field()}, first=24.0 * at) for at in (0, 2)]
    between = damaged(tmp_path / "1.nc", endless_heap)
    if refusal(describe, between):
        on = Options(on={"truncated": "skip", "gap": "allow"})
        assert convert([whole[0], between, whole[1]], tmp_path / "s.zarr", on).samples == 48


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_the_death_of_the_process_is_told_and_the_next_is_another(
    tmp_path: Path, how: signal.Signals
) -> None:
    """As the kernel kills it where memory runs out: over one file, not over the next."""
    path = write_netcdf(tmp_path / "a.nc", {"t": field()})
    with (
        over_the_next_call(how),
        pytest.raises(BadData, match=rf"a\.nc: cannot be read as NetCDF: HDF5 was killed by {how.name}"),
    ):
        describe(path)
    assert describe(path).sizes["time"] == 24


@contextmanager
def over_the_next_call(how: signal.Signals) -> Iterator[None]:
    """The process stands still, so that it dies while it is asked, not between two questions."""
    pid = hdf5.call(0, os.getpid)
    os.kill(pid, signal.SIGSTOP)

    def kill() -> None:
        os.kill(pid, how)
        os.kill(pid, signal.SIGCONT)

    killer = threading.Timer(0.3, kill)
    killer.start()
    try:
        yield
    finally:
        killer.join()


def test_values_that_only_hdf5_can_read_are_read_there(tmp_path: Path) -> None:
    """And its death over them stops a conversion with one line."""
    path = write_hdf5(tmp_path / "a.h5", field(), **hdf5plugin.LZ4())
    source = describe(path)
    box = {"time": slice(3, 5)}
    np.testing.assert_array_equal(read_slowly(source, source.variables["t"], box), field()[3:5])
    with over_the_next_call(signal.SIGKILL), pytest.raises(Died, match="HDF5 was killed by SIGKILL"):
        read_slowly(source, source.variables["t"], box)


def test_a_comparison_reads_values_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its death over them is one line that names file and variable; then the same two are found equal."""
    path, call = write_netcdf(tmp_path / "a.nc", {"t": field()}), hdf5.call

    def deadly(nbytes: int, function: Callable[..., Any], *arguments: Any) -> Any:
        if "t" not in arguments:
            return call(nbytes, function, *arguments)
        with over_the_next_call(signal.SIGKILL):
            return call(nbytes, function, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Library, "call", staticmethod(deadly))
        with pytest.raises(BadData, match=r"a\.nc: variable 't' cannot be read: HDF5 was killed by SIGKILL"):
            compare(path, path)
    assert compare(path, path) == []


def spin(ever: bool = True) -> None:
    while ever:
        pass


def tell(text: str) -> str:
    logging.getLogger("maelio.test").warning("%s, logged", text)
    warnings.warn(f"{text}, warned", RuntimeWarning, stacklevel=1)
    return text


def large(count: int) -> NDArray[np.float64]:
    return np.arange(float(count))


def hungry() -> None:
    np.ones(2**50)


def wrong() -> None:
    raise KeyError("a fault")


@pytest.mark.parametrize("threads", ["alone", "beside a thread"])
def test_a_call_is_answered_as_if_it_were_made_here(caplog: pytest.LogCaptureFixture, threads: str) -> None:
    """By a copy of this process, or by a new one: values, logs, warnings, errors; and then the next."""
    library = Library()
    if threads == "alone":
        answered(library, caplog)
    else:
        with another_thread():
            answered(library, caplog)


def answered(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    assert library.call(0, os.getpid) != os.getpid()
    with pytest.warns(RuntimeWarning, match="a text, warned"):
        assert library.call(0, tell, "a text") == "a text"
    assert caplog.messages == ["a text, logged"]
    np.testing.assert_array_equal(library.call(0, large, 10**6), large(10**6))
    with pytest.raises(KeyError, match="a fault"):
        library.call(0, wrong)
    with pytest.raises(Died, match="asks for more memory than there is"):
        library.call(0, hungry)
    assert library.call(0, tuple, "ab") == ("a", "b")


def test_a_call_that_takes_too_long_is_given_up() -> None:
    """Wherever the library is; the next call is answered."""
    hasty = Library(limit_s=0.2)
    with pytest.raises(Died, match=r"HDF5 took more than 0\.2 s of processor time"):
        hasty.call(0, spin)
    assert hasty.call(0, len, "abc") == 3


def test_an_interrupted_call_is_not_answered_later() -> None:
    """The next one gets its own answer."""
    library = Library()
    assert library.call(0, len, "ab") == 2
    alarm = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    alarm.start()
    with pytest.raises(KeyboardInterrupt):
        library.call(0, spin)
    alarm.join()
    assert library.call(0, len, "abc") == 3


def test_no_process_is_left_behind() -> None:
    """Neither where it is closed, nor where nobody holds it any more."""
    before = {child.pid for child in psutil.Process().children()}
    library = Library()
    pids = [library.call(0, os.getpid)]
    library.close()
    pids.append(library.call(0, os.getpid))
    assert before.isdisjoint(pids)
    del library
    assert {child.pid for child in psutil.Process().children()} <= before

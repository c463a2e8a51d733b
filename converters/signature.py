"""What a file really is, by its first bytes: names promise nothing."""

from pathlib import Path
from typing import Literal

from maelio.errors import BadData, NotFound, NotPermitted

Format = Literal["netcdf3", "netcdf4", "zarr", "grib"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_USER_BLOCKS = (0, 512, 1024, 2048, 4096, 8192)  # HDF5 lets a user block of 512 * 2**n bytes stand before it

_ZARR = ("zarr.json", ".zgroup", "maelio.json")  # of version 3 and 2, and of a store in another container
_BULLETIN = 100  # bytes of the heading that weather centres' telecommunication puts before a GRIB message

_IMPOSTORS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the data: fetch it with `git lfs pull`"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"BUFR", "BUFR, which is not read"),
    (b"\x0e\x03\x13\x01", "HDF4, which is not read"),
)


def identify(path: Path) -> Format:
    """Look at the first bytes of `path`.

    Raises:
        NotFound: there is no such file.
        NotPermitted: it may not be read.
        BadData: it is of no format known here; the message says what it is.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(_USER_BLOCKS[-1] + len(_HDF5))
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except IsADirectoryError:
        if any((path / root).is_file() for root in _ZARR):
            return "zarr"
        raise BadData(f"{path} is a directory, wanted a NetCDF or GRIB file, or a Zarr group") from None
    except OSError as error:
        raise NotPermitted(f"{path} cannot be read: {error.strerror}") from error
    if start[:3] == b"CDF" and start[3:4] in b"\x01\x02\x05":
        return "netcdf3"
    if any(start[block : block + len(_HDF5)] == _HDF5 for block in _USER_BLOCKS):
        return "netcdf4"
    message = start.find(b"GRIB", 0, _BULLETIN + 4)
    if message == 0 or (message > 0 and start[message + 7 : message + 8] in (b"\1", b"\2")):
        return "grib"
    raise BadData(f"{path} is neither NetCDF nor GRIB: it is {_describe(start)}")


def _describe(start: bytes) -> str:
    if not start:
        return "empty"
    for magic, what in _IMPOSTORS:
        if start.startswith(magic):
            return what
    text = start[:512].lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page or XML, perhaps an error page that a download saved"
    return f"of an unknown format, starting with {start[:8]!r}"

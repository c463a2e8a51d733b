"""What a file really is, by its first bytes: names promise nothing."""

from pathlib import Path
from typing import Literal

from maelio.errors import BadData, NotFound, NotPermitted

KnownFormat = Literal["netcdf3", "netcdf4", "zarr", "grib"]
Format = KnownFormat | Literal["xarray"]  # or read by whichever engine of xarray takes it

_HDF5 = b"\x89HDF\r\n\x1a\n"
_USER_BLOCKS = (0, 512, 1024, 2048, 4096, 8192)  # HDF5 lets a user block of 512 * 2**n bytes stand before it

ROOTS = ("zarr.json", ".zgroup", "maelio.json")  # of version 3 and 2, and of a store in another container
_BULLETIN = 100  # bytes of the heading that weather centres' telecommunication puts before a GRIB message

_OTHERS = (
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"PK\x03\x04", "a zip archive: unpack it, or name what is in it: 'zip://*.nc::FILE'"),
    (b"BUFR", "BUFR, which is not read"),
    (b"\x0e\x03\x13\x01", "HDF4, which is not read"),
)


class Unknown(BadData):
    """A file that holds something, in no format known here: an engine of xarray may know it."""


def identify(path: Path) -> KnownFormat:
    """Look at the first bytes of `path`.

    Raises:
        NotFound: there is no such file.
        NotPermitted: it may not be read.
        BadData: it holds no data. Unknown: it is of no format known here. The message says what it is.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(_USER_BLOCKS[-1] + len(_HDF5))
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file") from None
    except IsADirectoryError:
        if is_zarr(path):
            return "zarr"
        raise BadData(f"{path} is a directory, no Zarr group; name the files in it: '{path}/*'") from None
    except OSError as error:
        raise NotPermitted(f"{path} cannot be read: {error.strerror}") from error
    if start[:3] == b"CDF" and start[3:4] in b"\x01\x02\x05":
        return "netcdf3"
    if any(start[block : block + len(_HDF5)] == _HDF5 for block in _USER_BLOCKS):
        return "netcdf4"
    message = start.find(b"GRIB", 0, _BULLETIN + 4)
    if message == 0 or (message > 0 and start[message + 7 : message + 8] in (b"\1", b"\2")):
        return "grib"
    refused = f"{path} is neither NetCDF nor GRIB: it is"
    if nothing := _no_data(start):
        raise BadData(f"{refused} {nothing}")
    others = (what for magic, what in _OTHERS if start.startswith(magic))
    raise Unknown(f"{refused} {next(others, f'of an unknown format, starting with {start[:8]!r}')}")


def is_zarr(path: Path) -> bool:
    """Whether `path` is a Zarr group, or a store of ours in another container."""
    return any((path / root).is_file() for root in ROOTS)


def _no_data(start: bytes) -> str | None:
    """What a file is that stands where data should be."""
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the data: fetch it with `git lfs pull`"
    if start[:512].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page or XML, perhaps an error page that a download saved"
    return None

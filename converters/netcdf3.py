"""Where the values of a NetCDF classic file lie, from its header alone.

The header also says how long the file must be. netCDF-C does not check that: a file cut short reads as
zeros without an error, so this module compares the two.

Source: NetCDF Users Guide, "File Format Specifications", classic (CDF-1), 64-bit offset (CDF-2) and
64-bit data (CDF-5) formats.
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from maelio.converters.storage import Rows
from maelio.errors import BadData

_TYPES = {
    1: ">i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8",
    7: ">u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8",
}  # fmt: skip
_STREAMING = (2**32 - 1, 2**64 - 1)  # number of records of a file that was never closed


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    shape: tuple[int, ...]  # without the record dimension
    dtype: np.dtype[Any]
    begin: int
    record: bool

    @property
    def bytes(self) -> int:
        """Of one record, or of the whole variable where it has no record dimension."""
        return prod(self.shape) * self.dtype.itemsize


class _Header:
    """Reads the header front to back. Integers are big-endian; CDF-5 counts with 64 bits."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 4
        self.version = content[3]

    def take(self, layout: str) -> int:
        (value,) = struct.unpack_from(layout, self.content, self.at)
        self.at += struct.calcsize(layout)
        return int(value)

    def count(self) -> int:
        return self.take(">Q" if self.version == 5 else ">I")

    def offset(self) -> int:
        return self.take(">I" if self.version == 1 else ">Q")

    def skip(self, size: int) -> None:
        self.at += size + (-size % 4)

    def name(self) -> str:
        size = self.count()
        name = self.content[self.at : self.at + size].decode("utf-8")
        self.skip(size)
        return name

    def list_length(self) -> int:
        self.take(">I")  # the tag; 0 for an absent list, whose length is then 0
        return self.count()

    def skip_attributes(self) -> None:
        for _ in range(self.list_length()):
            self.name()
            kind = self.take(">I")
            self.skip(self.count() * np.dtype(_TYPES[kind]).itemsize)

    def variable(self, sizes: list[int]) -> _Variable:
        name = self.name()
        dimensions = [self.count() for _ in range(self.count())]
        self.skip_attributes()
        dtype = np.dtype(_TYPES[self.take(">I")])
        self.count()  # vsize: too small a field for large variables, so it is computed instead
        begin = self.offset()
        record = bool(dimensions) and sizes[dimensions[0]] == 0
        shape = tuple(sizes[number] for number in dimensions[1 if record else 0 :])
        return _Variable(name, shape, dtype, begin, record)


def tables(path: Path) -> dict[str, tuple[np.dtype[Any], Rows]]:
    """The stored dtype and the place of every variable with a dimension.

    Raises:
        BadData: the header is damaged, or the file is shorter than the header says.
    """
    content = _header_bytes(path)
    try:
        return _tables(path, content)
    except (struct.error, KeyError, IndexError, ArithmeticError, UnicodeDecodeError) as error:
        raise BadData(f"{path}: the NetCDF header is damaged or cut short ({error!r})") from error


def _header_bytes(path: Path, limit: int = 2**24) -> bytes:
    with open(path, "rb") as file:
        return file.read(limit)


def _tables(path: Path, content: bytes) -> dict[str, tuple[np.dtype[Any], Rows]]:
    header = _Header(content)
    records = header.count()
    sizes = []
    for _ in range(header.list_length()):
        header.name()
        sizes.append(header.count())
    header.skip_attributes()
    variables = [header.variable(sizes) for _ in range(header.list_length())]

    recorded = [variable for variable in variables if variable.record]
    alone = len(recorded) == 1  # a single record variable is packed without padding
    stride = sum(variable.bytes if alone else variable.bytes + -variable.bytes % 4 for variable in recorded)
    length = path.stat().st_size
    if records in _STREAMING:
        records = (length - min(variable.begin for variable in recorded)) // stride if recorded else 0
    _check_length(path, length, variables, records, stride)
    return {
        variable.name: (
            variable.dtype,
            Rows(variable.begin, stride if variable.record else _row_bytes(variable)),
        )
        for variable in variables
        if variable.record or variable.shape
    }


def _row_bytes(variable: _Variable) -> int:
    return prod(variable.shape[1:]) * variable.dtype.itemsize


def _check_length(path: Path, length: int, variables: list[_Variable], records: int, stride: int) -> None:
    for variable in variables:
        if variable.record and not records:
            continue
        before = (records - 1) * stride if variable.record else 0
        end = variable.begin + before + variable.bytes
        if end > length:
            raise BadData(
                f"{path} is cut short: variable {variable.name!r} ends at byte {end}, the file has {length}"
            )

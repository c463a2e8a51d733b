"""Values of GRIB messages, decoded by eccodes straight into a caller's array, in any thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eccodes
import numpy as np
from numpy.typing import NDArray

from maelio.converters.storage import Field, Messages, Parts, Scan, pread, take
from maelio.errors import BadData

_INDICATOR = 16  # bytes of section 0 of edition 2; its last 8 are the length of the message

# Where a section is damaged eccodes looks beyond the message's end; without these it crashes at the memory's.
_BEHIND = bytes(4096)


def read_messages(fd: int, storage: Messages, parts: Parts, out: NDArray[Any]) -> None:
    """Fill `out`, the variable's shape with `parts` along some of its axes; missing values and messages become NaN.

    Messages of which nothing is wanted are not read; of others all is decoded, and what is not wanted thrown away.

    Raises BadData: naming the message that eccodes cannot decode.
    """
    leading = storage.fields.ndim
    fields = take(storage.fields, {axis: part for axis, part in parts.items() if axis < leading})
    within = {axis - leading: part for axis, part in parts.items() if axis >= leading}
    grid = tuple(
        within[axis].size if axis in within else size for axis, size in enumerate(out.shape[leading:])
    )
    for place in np.ndindex(fields.shape):
        field: Field | None = fields[place]  # type: ignore[assignment]
        out[place] = np.nan if field is None else take(read_field(fd, field, storage.scan, grid), within)


def read_field(fd: int, field: Field, scan: Scan, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """One field in rows. Raises BadData: naming the message that cannot be decoded."""
    with opened(fd, field) as handle:
        eccodes.codes_set(handle, "missingValue", np.nan)
        values = eccodes.codes_get_double_array(handle, "values")  # as fast as float32, and rounded once
    try:
        return in_rows(values, shape, scan)
    except ValueError:
        raise BadData(f"message {field.number} has {len(values)} values, wanted {shape}") from None


@contextmanager
def opened(fd: int, field: Field) -> Iterator[int]:
    """A handle of eccodes on one field. Raises BadData: whatever eccodes raises, naming the message."""
    pieces = [pread(fd, length, offset) for offset, length in field.pieces]
    if len(pieces) > 1:  # cut out of a message of several fields, and shorter than it
        pieces[0] = pieces[0][: _INDICATOR - 8] + field.bytes.to_bytes(8, "big")
    message = b"".join((*pieces, _BEHIND))
    try:
        handle = eccodes.codes_new_from_message(message)
        try:
            yield handle
        finally:
            eccodes.codes_release(handle)
    except eccodes.CodesInternalError as error:
        raise BadData(f"message {field.number} cannot be decoded: {error}") from error


def in_rows(values: NDArray[Any], shape: tuple[int, ...], scan: Scan) -> NDArray[Any]:
    """Values in the order of the file as the array `shape`: rows from the first to the last one written."""
    field = values.reshape(shape[::-1] if scan.by_columns else shape)
    if scan.alternating:
        field = field.copy()
        field[1::2] = field[1::2, ::-1]
    return field.T if scan.by_columns else field

"""Values of GRIB messages, decoded in any thread: here where they stand side by side, else by eccodes in a process beside."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from maelio.converters.decoder import decoder
from maelio.converters.grib_packing import packing, plain
from maelio.converters.grib_scan import Scan, in_rows
from maelio.converters.storage import Field, Messages, Parts, take
from maelio.errors import BadData
from maelio.packed import pread

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
        out[place] = np.nan if field is None else take(_read_field(fd, field, storage.scan, grid), within)


def _read_field(fd: int, field: Field, scan: Scan, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """One field in rows, until the next call. Raises BadData: naming the message that cannot be decoded."""
    message = read_message(fd, field)
    count = int(np.prod(shape))
    try:
        found = plain(message, count)
        values = found.values(message) if found else decoder().values(message, count)
        return in_rows(values, shape, scan)  # values for all points of the grid, or it is damaged
    except (BadData, ValueError) as error:
        raise BadData(
            f"message {field.number} cannot be decoded: {error} (damaged {packing(message)} data?)"
        ) from error


def read_message(fd: int, field: Field) -> bytes:
    """A message of one field, and zeros behind it. Raises BadData: the file ends before."""
    pieces = [pread(fd, length, offset) for offset, length in field.pieces]
    if len(pieces) > 1:  # cut out of a message of several fields, and shorter than it
        pieces[0] = pieces[0][: _INDICATOR - 8] + field.bytes.to_bytes(8, "big")
    return b"".join((*pieces, _BEHIND))

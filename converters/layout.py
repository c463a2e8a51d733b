"""How samples are laid out: pure arithmetic on sizes, the reasons are the measured costs.

row      one sample, all variables of an array              7 KiB ... 1 GiB
chunk    one row; a block of rows when rows are small; a part of a row when it is large
shard    as many chunks as fit `shard_bytes`: one file, one region of work
"""

from math import ceil, lcm, log2

CHUNK_BYTES = 2**20  # what small rows are gathered to, and the least a large row is cut into
SERIES_BYTES = 16 * 2**20  # of a block of series, which a reader decodes at once: its chunks of all times
SMALL_ROW = 64 * 2**10
LARGE_ROW = 4 * 2**20


def rows_per_chunk(row_bytes: int, samples: int, width: int = 1) -> int:
    """Rows of one inner chunk: a power of two near 1 MiB for small rows, else one.

    Where every `width` rows belong together, as the cells of one time do, some of them or some times all of them
    that make half to twice as much: then what belongs together is not spread over more chunks than it fills.
    """
    if row_bytes >= SMALL_ROW:
        return 1
    wanted: int = 2 ** round(log2(CHUNK_BYTES / row_bytes))
    if width == 1:
        return min(wanted, samples)
    if width <= wanted:
        return min(round(CHUNK_BYTES / row_bytes / width) * width, samples)
    dividing = (rows for rows in range(max(wanted // 2, 1), 2 * wanted + 1) if width % rows == 0)
    return min(dividing, key=lambda rows: abs(log2(rows / wanted)), default=wanted)


def series_per_chunk(cut_bytes: int, row_bytes: int, samples: int, width: int = 1) -> int:
    """Rows of one inner chunk that has `cut_bytes` of each row of `row_bytes`: a part of a series.

    As many as make 1 MiB, but no more than make 16 MiB of whole rows.
    """
    return rows_per_chunk(max(cut_bytes, CHUNK_BYTES * row_bytes // SERIES_BYTES), samples, width)


def variables_per_chunk(row_bytes: int, variables: int) -> int:
    """Variables of one inner chunk: all, but for large rows the fewest that divide them and make 1 MiB."""
    if row_bytes <= LARGE_ROW:
        return variables
    one = row_bytes / variables
    return next(
        width for width in range(1, variables + 1) if variables % width == 0 and width * one >= CHUNK_BYTES
    )


def rows_per_shard(row_bytes: int, samples: int, chunk_rows: int, shard_bytes: int, source_rows: int) -> int:
    """Rows of one shard: whole chunks up to `shard_bytes`, at least one chunk, at most all samples.

    A multiple of `source_rows`, the rows of a source chunk, where that fits: then each source chunk is
    decompressed once.
    """
    most = max(shard_bytes // row_bytes // chunk_rows, 1) * chunk_rows
    everything = ceil(samples / chunk_rows) * chunk_rows
    if most >= everything:
        return everything
    unit = lcm(source_rows, chunk_rows)
    return most // unit * unit or most

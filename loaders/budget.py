"""How much memory a stream takes: decided before anything is read."""

from dataclasses import dataclass

from maelio.errors import BadRequest
from maelio.files import show_bytes
from maelio.loaders.order import WINDOW_CHUNKS

_BATCHES = 3  # the consumer's, the one it waits for, the one behind
_CHUNKS = 2 * WINDOW_CHUNKS  # two shuffle windows: one batch may touch both


@dataclass(frozen=True, slots=True)
class Buffers:
    """`batches` buffers of `batch_bytes`; `chunks` decoded chunks held of every array with blocks of rows."""

    batches: int
    chunks: int
    batch_bytes: int
    nbytes: int


def plan_buffers(
    *,
    batch_bytes: int,
    block_bytes: int,
    scratch_bytes: int,
    threads: int,
    memory: int | None = None,
    blocks: int | None = None,
) -> Buffers:
    """Buffers within `memory` bytes.

    Less memory means fewer cached chunks, then less read ahead. Two batches are the least, the consumer's and
    the one it waits for; reading then goes on only while the consumer waits.

    Args:
        batch_bytes: of one batch on this rank.
        block_bytes: of one decoded chunk of every array whose chunks hold many rows.
        scratch_bytes: that each thread needs besides, to cut parts out of chunks.
        blocks: chunks of every such array that are worth holding, by default those of two shuffle windows.

    Raises:
        BadRequest: the least does not fit.
    """
    each_thread = block_bytes + scratch_bytes
    wanted = max(_CHUNKS if blocks is None else blocks, threads)
    least = 2 * batch_bytes + threads * each_thread
    if memory is None:
        memory = _BATCHES * batch_bytes + wanted * block_bytes + threads * scratch_bytes
    if memory < least:
        raise BadRequest(
            f"memory={show_bytes(memory)} does not hold two batches of {show_bytes(batch_bytes)} and "
            f"{threads} chunks of {show_bytes(each_thread)}: {show_bytes(least)}; lower batch_size or threads"
        )
    memory -= threads * scratch_bytes
    batches = min(_BATCHES, (memory - threads * block_bytes) // batch_bytes)
    chunks = min(wanted, (memory - batches * batch_bytes) // block_bytes) if block_bytes else 0
    nbytes = batches * batch_bytes + chunks * block_bytes + threads * scratch_bytes
    return Buffers(batches=batches, chunks=chunks, batch_bytes=batch_bytes, nbytes=nbytes)

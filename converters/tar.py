"""Tar shards as WebDataset reads them: one member a chunk, named by the number of its first sample.

    000000024.npy        codec none: a NumPy file
    000000024.blosc      other codecs: the Blosc frame that the codec made
    000000024.1.npy      the second piece of a sample that is cut along `variable`

WebDataset takes what stands before the first dot for the sample, so all pieces of a sample come together.

Source: POSIX.1-2017 `pax`, section "ustar Interchange Format"; NumPy NEP 1, version 1.0.
"""

import tarfile

import numpy as np

from maelio.converters.chunks import Chunk

END = bytes(2 * tarfile.BLOCKSIZE)

_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_ALIGNMENT = 64


def around(chunk: Chunk, encoded: bytes, position: int, alignment: int) -> tuple[bytes, bytes]:
    """What stands in front of `encoded` and behind it, for a member that begins at byte `position`.

    The bytes of an array begin at a multiple of `alignment` in the file, where it has no codec.
    """
    header = b""
    if chunk.array.codec.name == "none":
        header = npy_header(chunk, position + tarfile.BLOCKSIZE, max(alignment, _NPY_ALIGNMENT))
    member = tarfile.TarInfo(_name(chunk))
    member.size = len(header) + len(encoded)
    return (
        member.tobuf(tarfile.PAX_FORMAT) + header,  # plain ustar up to 8 GiB
        bytes(-member.size % tarfile.BLOCKSIZE),
    )


def npy_header(chunk: Chunk, position: int, alignment: int) -> bytes:
    """Of a NumPy file at byte `position`, filled with blanks so that its values begin at a multiple of `alignment`."""
    text = repr(
        {
            "descr": np.lib.format.dtype_to_descr(chunk.values.dtype.newbyteorder("<")),
            "fortran_order": False,
            "shape": chunk.shape,
        }
    ).encode("latin1")
    length = len(_MAGIC) + 2 + len(text) + 1
    blanks = -(position + length) % alignment
    return b"%s%s%s%s\n" % (_MAGIC, (len(text) + blanks + 1).to_bytes(2, "little"), text, b" " * blanks)


def _name(chunk: Chunk) -> str:
    piece = f".{chunk.piece}" if chunk.array.pieces > 1 else ""
    kind = "npy" if chunk.array.codec.name == "none" else "blosc"
    return f"{chunk.row:09d}{piece}.{kind}"

"""Let freed memory be used again, instead of going back to the system and coming back page by page.

A converter allocates and frees buffers of a few MB for every chunk and every file, and glibc gives them back as they are
freed: three quarters of the page faults of a conversion of 2.4 GB. The thresholds below are those at which glibc's own
adaptation ends, once a block of 32 MiB was freed.

Source: mallopt(3); `DEFAULT_MMAP_THRESHOLD_MAX` in malloc/malloc.c of glibc.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_MMAP_MOST = 32 * 2**20  # DEFAULT_MMAP_THRESHOLD_MAX where pointers have 64 bits


def keep_freed_memory(most: int = _MMAP_MOST) -> bool:
    """For the rest of this process: blocks of up to `most` bytes, and twice as much at the end of each thread's heap.

    What is kept counts as used: a process that is to stay small keeps less. False where the C library has no such
    setting, and nothing is changed.
    """
    most = max(2**17, min(most, _MMAP_MOST))
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    try:
        mallopt = library.mallopt
    except AttributeError:
        return False
    set_mmap = mallopt(_MMAP_THRESHOLD, most)
    return bool(set_mmap and mallopt(_TRIM_THRESHOLD, 2 * most))

"""The C library's heap, in processes that run for hours."""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_BLOCK = 256 * 1024


def give_memory_back() -> None:
    """Have the C library return every freed block of 256 KiB or more to the system; nothing happens where it cannot.

    glibc raises that limit to 32 MiB by itself when such blocks are freed, and then keeps them in its heap, which falls
    to pieces: without this, a gradient pass over a language model grows with every batch. It holds for the process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _BLOCK)

"""What a process holds of the machine's memory without any need: freed blocks of the heap, pages of mapped files."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

from torch import Tensor

_MAPS = Path("/proc/self/maps")
_MADV_PAGEOUT = 21  # Linux 5.4, asm-generic/mman-common.h; Python's mmap has no name for it
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


def page_out(tensor: Tensor) -> None:
    """Let the system take back the pages of a tensor that lies in a mapped file, as weights of safetensors files do.

    Its values stay: a page that somebody asks for is read from the file again, and one that was written to is left
    alone. Nothing happens to other tensors, nor on systems other than Linux.
    """
    if tensor.device.type != "cpu" or not tensor.is_contiguous() or not _MAPS.exists():
        return
    page = mmap.PAGESIZE
    begin = -(-tensor.data_ptr() // page) * page
    end = (tensor.data_ptr() + tensor.nbytes) // page * page
    if begin < end and _is_file(begin, end):
        # a piece of advice: an older kernel refuses it, and nothing is lost
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_PAGEOUT)


def _is_file(begin: int, end: int) -> bool:
    """Whether addresses belong to one mapping of a file."""
    for line in _MAPS.read_text(encoding="utf-8", errors="replace").splitlines():
        addresses, _, _, _, inode = line.split(maxsplit=5)[:5]
        first, _, last = addresses.partition("-")
        if int(first, 16) <= begin < int(last, 16):
            return end <= int(last, 16) and inode != "0"
    return False

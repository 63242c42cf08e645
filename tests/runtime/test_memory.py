"""What long runs hold on to."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Frees a block of 16 MiB, which makes glibc keep smaller ones in its heap, and takes one of 1 MiB.
PROGRAM = """
import ctypes, sys
c = ctypes.CDLL(None)
if not hasattr(c, "mallinfo2"):
    sys.exit(3)
names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]
c.mallinfo2.restype, c.malloc.restype, c.free.argtypes = Info, ctypes.c_void_p, [ctypes.c_void_p]
from spike_compressor.runtime.memory import give_memory_back
def mapped():
    c.free(c.malloc(16 << 20))
    before = c.mallinfo2().hblks
    c.malloc(1 << 20)
    return c.mallinfo2().hblks - before
kept = mapped()
give_memory_back()
print(kept, mapped())
"""


def test_freed_blocks_go_back_to_the_system() -> None:
    """A block of its own mapping returns when it is freed; one in the heap may not."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    if result.returncode == 3:
        pytest.skip("the C library is not glibc")
    assert result.stdout.split() == ["0", "1"], result.stderr

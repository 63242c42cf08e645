"""What long runs hold on to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from spike_compressor.runtime.memory import page_out
from torch import Tensor

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


def _resident(tensor: Tensor) -> int:
    """KiB of the mapping of a tensor that are in memory, as /proc/self/smaps says."""
    address, inside = tensor.data_ptr(), False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            first, _, last = head.partition("-")
            inside = int(first, 16) <= address < int(last, 16)
        elif inside and head == "Rss:":
            return int(line.split()[1])
    raise AssertionError("no such mapping")


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="not Linux")
def test_pages_of_a_file_are_given_back_and_nothing_is_lost(tmp_path: Path) -> None:
    """The page of an edge, that may be a neighbour's too, stays; so does one that was written to.

    Linux may hold up to 2 MiB of a file as one piece and keep the whole of it: hence 16 MiB, of which most must go.
    """
    values = torch.arange(1 << 22, dtype=torch.float32)
    tensors = {"before": values[:100].clone(), "weight": values, "after": values[:100].clone()}
    save_file(tensors, tmp_path / "m.safetensors")
    weight = load_file(tmp_path / "m.safetensors")["weight"]
    assert torch.equal(weight, values)  # every page is read
    before = _resident(weight)
    if before < 1 << 14:
        pytest.skip("this safetensors does not map files")
    weight[1 << 21] = -1
    page_out(weight)
    assert _resident(weight) < before * 3 // 4
    assert weight[1 << 21].item() == -1
    weight[1 << 21] = values[1 << 21]
    assert torch.equal(weight, values)


def test_memory_of_no_file_is_left_alone() -> None:
    weight = torch.ones(1 << 18)
    page_out(weight)
    page_out(weight[:3])
    page_out(weight.view(512, 512).t())
    page_out(torch.empty(4, device="meta"))
    assert weight.sum().item() == 1 << 18

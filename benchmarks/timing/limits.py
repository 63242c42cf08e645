"""What this machine can do at most: multiply-adds of floats and of bytes, and reading memory.

Measured by small loops in C++ where there is a compiler, else by the fastest thing that torch has for it (`source` says
which). A figure is the best of many short runs: a limit is what the machine reaches when nobody disturbs it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

SOURCE = Path(__file__).with_name("limits.cpp")
#: Bytes that no cache holds.
MEMORY = 256 << 20


@dataclass
class Limits:
    """Peaks of so many threads.

    Args:
        folder: where the loops are built.
        threads: that run side by side.
        seconds: that each peak is measured for.
    """

    folder: Path
    threads: int
    seconds: float = 0.3

    def __post_init__(self) -> None:
        self._read: dict[int, float] = {}

    @cached_property
    def library(self) -> Any:
        """The loops, or None without a compiler or where they do not build."""
        compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++")
        if compiler is None:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        built = self.folder / f"limits-{os.getpid()}.so"
        for native in ("-march=native", "-mcpu=native"):
            command = [compiler, "-O3", "-std=c++17", native, "-shared", "-fPIC", str(SOURCE), "-o", str(built)]
            if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                break
        else:
            return None
        library = ctypes.CDLL(str(built))
        built.unlink()
        for name in ("peak_fma", "peak_bytes"):
            function = getattr(library, name)
            function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double]
        library.read_rate.restype = ctypes.c_double
        library.read_rate.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_double]
        library.bytes_instruction.restype = ctypes.c_char_p
        return library

    def _side_by_side(self, measure: Callable[[int], float]) -> float:
        """The sum of what each thread reaches; ctypes lets go of the interpreter."""
        found = [0.0] * self.threads

        def run(index: int) -> None:
            found[index] = measure(index)

        workers = [threading.Thread(target=run, args=(index,)) for index in range(self.threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(found)

    @cached_property
    def fma(self) -> float:
        """Multiply-adds of float32 a second."""
        peak = 0.0 if self.library is None else self._side_by_side(lambda _: self.library.peak_fma(self.seconds))
        return peak or self._product(torch.float32)

    @cached_property
    def bytes(self) -> float:
        """Multiply-adds of bytes a second, by the instruction that `instruction` names."""
        if self.library is not None:
            peak = self._side_by_side(lambda _: self.library.peak_bytes(self.seconds))
            if peak:
                return peak
        return self._product(torch.int8)

    @property
    def instruction(self) -> str:
        """What multiplies bytes."""
        return (self.library.bytes_instruction().decode() if self.library is not None else "") or "torch._int_mm"

    def read(self, size: int) -> float:
        """Bytes a second of reading so many bytes again and again: from the cache that holds them, or from memory."""
        size = max(4096, size // self.threads // 256 * 256)
        if size not in self._read:
            block = torch.ones(size * self.threads, dtype=torch.uint8)
            if self.library is None:
                self._read[size] = self._sum(block)
            else:
                start = block.data_ptr()
                self._read[size] = self._side_by_side(
                    lambda index: self.library.read_rate(start + index * size, size, self.seconds)
                )
        return self._read[size]

    def bound(self, macs: int, weights: int, rest: int, cold: bool = False) -> tuple[float, str]:
        """Seconds that a product takes at least, and for what: `arithmetic`, or `reading` weights and `rest` bytes.

        Weights are read from the cache that can hold them, or from memory if they are `cold`.
        """
        rate = self.read(MEMORY if cold else weights)
        return max((macs / self.bytes, "arithmetic"), ((weights + rest) / rate, "reading"))

    def row(self) -> dict[str, Any]:
        """The limits, for a result."""
        return {
            "part": "limits",
            "key": f"limits_threads{self.threads}",
            "threads": self.threads,
            "source": "C++ loops" if self.library is not None else "torch",
            "fma_gmacs": self.fma / 1e9,
            "bytes_gmacs": self.bytes / 1e9,
            "instruction": self.instruction,
            "read_gb_s": {f"{size >> 20} MiB": self.read(size) / 1e9 for size in (1 << 20, 8 << 20, MEMORY)},
        }

    # Without a compiler

    def _product(self, dtype: torch.dtype) -> float:
        size = 1024
        if dtype == torch.int8:
            left = torch.ones((size, size), dtype=dtype)
            return size**3 / self._best(lambda: torch._int_mm(left, left.t()))
        square = torch.ones((size, size), dtype=dtype)
        return size**3 / self._best(lambda: square @ square)

    def _sum(self, block: torch.Tensor) -> float:
        words = block[: len(block) // 8 * 8].view(torch.int64)
        return len(block) / self._best(lambda: words.sum())

    def _best(self, call: Callable[[], object]) -> float:
        end, best = time.perf_counter() + self.seconds, float("inf")
        while time.perf_counter() < end:
            begin = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - begin)
        return best

"""An evaluation that does to the worker what the world does to it; in a module, so that workers find it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from spike_compressor.demo.evaluations import DemoAnswers
from spike_compressor.errors import InputError
from spike_compressor.evaluations.base import Metric, Progress


class Watched(DemoAnswers):
    """`answers`, after what `first` says has happened; `folder` is where its calls leave word to each other.

    Args:
        first: `meet`: a call on another machine of the cluster has begun, too. `die`: the worker was killed, once.
            `die always`: it is killed. `fail`: an error is raised. Nothing: nothing.
        folder: that all calls share.
    """

    name = "watched"

    def __init__(self, first: str, folder: Path) -> None:
        super().__init__("1")
        self.first, self.folder = first, folder

    def run(self, model: Any, processor: Any, progress: Progress | None = None) -> Metric:
        if self.first == "meet":
            self._meet()
        elif self.first == "fail":
            raise InputError(f"--eval {self.label}: no answers in {self.folder}")
        elif self.first:
            calls = len(list(self.folder.glob("call-*")))
            (self.folder / f"call-{calls}").touch()
            if self.first == "die always" or calls == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().run(model, processor, progress)

    def _meet(self) -> None:
        import ray

        (self.folder / f"machine-{ray.get_runtime_context().get_node_id()}").touch()
        for _ in range(600):
            if len(list(self.folder.glob("machine-*"))) > 1:
                return
            time.sleep(0.1)
        raise TimeoutError("nobody else came")

"""A Ray cluster: each cell is a task, which Ray places where there is room for it.

Results come back to the process that asked, which keeps them as it does those of any engine; so a command that was
killed goes on from what is there. Quantized weights are written by the task that makes them, and read by others,
on other machines: model, data and folder have to lie on storage that all machines share, under the same paths.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import socket
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spike_compressor.comparison.engines.base import Computed, Engine, Todo, register_engine, run_one, side_by_side
from spike_compressor.comparison.sweep import Sweep
from spike_compressor.errors import InputError
from spike_compressor.modality import use_adapters
from spike_compressor.progress import Steps
from spike_compressor.quiet import quiet_worker

#: How often a cell is begun again whose worker or machine was lost.
RETRIES = 3
#: Seconds that a cluster has to answer in.
_PATIENCE = 10


@register_engine("ray")
@dataclass(frozen=True)
class RayEngine(Engine):
    """Cells as tasks of a Ray cluster.

    A task whose worker or machine is lost begins anew, elsewhere if need be, up to `RETRIES` times; an error of a cell
    ends the comparison at once, as in this process.

    Attributes:
        jobs: tasks at a time, at most; None: as many as the cluster has room for.
        address: of the cluster, as `ray.init` takes it; None: the one that `RAY_ADDRESS` names or that runs on this
            machine, or else a new one of this machine alone, which ends with the comparison.
        cpus: that a cell takes of its machine; None: as many as it has threads.
        gpus: that a cell takes of its machine: a part of one, or whole ones.

    Raises:
        InputError: numbers that make no sense.
    """

    address: str | None = None
    cpus: float | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cpus is not None and not 0 < self.cpus < math.inf:
            raise InputError(f"cpus is {self.cpus}; a cell takes more than 0 of its machine's CPUs")
        if not 0 <= self.gpus < math.inf or (self.gpus > 1 and self.gpus % 1):
            raise InputError(f"gpus is {self.gpus}; a cell takes a part of one GPU (0 to 1), or whole ones")

    def check(self) -> None:
        _ray()
        host, _, port = (self.address or os.environ.get("RAY_ADDRESS") or "").rpartition(":")
        if not port.isdigit() or "/" in host:  # `auto`, `local`, nothing, or of another protocol
            return
        try:  # Ray itself would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
        except OSError as error:
            raise self._no_cluster(error) from error

    def compute(self, sweep: Sweep, todo: Sequence[Todo], steps: Steps) -> Computed:
        ray = _ray()
        with self._cluster(ray, steps.verbose), _mark(sweep.folder) as mark:
            wanted = {"CPU": sweep.threads if self.cpus is None else self.cpus, "GPU": self.gpus}
            _require_room(ray, wanted)
            task = ray.remote(num_cpus=wanted["CPU"], num_gpus=wanted["GPU"], max_retries=RETRIES)(_there)
            here = _Here(Path.cwd(), mark, _files(sweep.model), steps.verbose)
            given, tasks = ray.put(sweep), []

            def submit(one: Todo) -> Future[dict[str, Any]]:
                tasks.append(task.options(name=f"compare {one.label}").remote(given, one, here))
                return tasks[-1].future()

            try:
                yield from side_by_side(todo, submit, self.jobs, steps)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, Exception):
                    raise error.cause from error  # what the cell raised, with what Ray tells of where
                raise
            except ray.exceptions.RayError as error:
                raise ChildProcessError(
                    f"a cell was begun {RETRIES + 1} times, and its worker or machine lost each time; if memory was "
                    f"short, give a cell more --cpus, so that fewer share a machine: {error}"
                ) from error
            finally:
                for one in tasks:  # those that are through do not mind
                    ray.cancel(one, force=True)

    @contextlib.contextmanager
    def _cluster(self, ray: Any, verbose: bool) -> Iterator[None]:
        """Connected to the cluster; whoever has connected this process before stays connected."""
        if ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster begun here reports to nobody
        try:
            ray.init(self.address, log_to_driver=verbose, logging_level="INFO" if verbose else "ERROR")
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise self._no_cluster(error) from error
        try:
            yield
        finally:
            ray.shutdown()

    def _no_cluster(self, error: Exception) -> InputError:
        return InputError(
            f"no Ray cluster at {self.address or os.environ.get('RAY_ADDRESS') or 'this machine'}: {error}; start one "
            "with `ray start --head`, or name one by --address HOST:PORT"
        )


@dataclass(frozen=True)
class _Here:
    """What a machine has to find as this process does."""

    directory: Path
    mark: Path
    files: dict[str, int]
    verbose: bool


def _there(sweep: Sweep, one: Todo, here: _Here) -> dict[str, Any]:
    """The task, on some machine of the cluster."""
    quiet_worker(here.verbose)
    if here.directory.is_dir():  # relative paths mean what they mean here
        os.chdir(here.directory)
    machine = f"machine {platform.node()}"
    for folder, same in ((sweep.folder, here.mark.is_file()), (sweep.model, _files(sweep.model) == here.files)):
        if not same:
            raise InputError(
                f"{machine} of the Ray cluster has another {folder.absolute()} than the machine that asked, or none; "
                "put it on storage that all machines share, under the same path"
            )
    use_adapters(sweep.adapters)
    if difference := _difference(one.key, sweep.key(one.cell)):
        raise InputError(
            f"{machine} of the Ray cluster would compute something else: {difference}; install the same packages on "
            "all machines, and put data and code on storage that they share"
        )
    return run_one(sweep, one.cell)


def _difference(here: Any, there: Any, where: str = "") -> str:
    """The first place where two keys differ, in words; empty if none does."""
    if isinstance(here, dict) and isinstance(there, dict):
        names = sorted({*here, *there})
        found = (_difference(here.get(name), there.get(name), f"{where}.{name}" if where else name) for name in names)
        return next(filter(None, found), "")
    return "" if here == there else f"{where} is {there!r} there and {here!r} here"


def _files(folder: Path) -> dict[str, int]:
    """Sizes of a folder's files by name; what is in them was hashed once, by the process that asked."""
    return {file.name: file.stat().st_size for file in folder.glob("*") if file.is_file()}


@contextlib.contextmanager
def _mark(folder: Path) -> Iterator[Path]:
    """A file that whoever shares the folder finds in it, for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=".shared-", dir=folder.absolute()) as file:
        yield Path(file.name)


def _require_room(ray: Any, wanted: dict[str, float]) -> None:
    """Refuse what no machine could ever hold: Ray would wait for one.

    Raises:
        InputError: no machine of the cluster has as much.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(machine.get(name, 0) >= amount for name, amount in wanted.items()) for machine in machines):
        have = ", ".join(f"{machine.get('CPU', 0):g} CPUs and {machine.get('GPU', 0):g} GPUs" for machine in machines)
        raise InputError(
            f"a cell takes {wanted['CPU']:g} CPUs and {wanted['GPU']:g} GPUs of one machine, and none of the cluster "
            f"has as much ({have or 'it has none'}): ask for less by --cpus and --gpus, or add a machine first"
        )


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "engine 'ray' needs Ray, which is not installed; pip install 'spike-compressor[ray]', on every machine"
        ) from error
    return ray

"""What fired, over HTTP: a middleware for vLLM's server.

`--middleware spike_compressor.integrations.vllm.endpoints.SpikeCounts` beside `--additional-config '{"spike_counts":
true}'` answers `GET /spikes` and `GET /spikes/ID`, where ID is the `id` of an answer, and adds to `GET /metrics`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import unquote

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily

from spike_compressor.errors import InputError
from spike_compressor.integrations.vllm import require_counting
from spike_compressor.integrations.vllm.counts import KEY, Counts, told

PATH = "/spikes"
_METRICS = "/metrics"
_FAMILIES = {
    "inputs": "Neuron evaluations of spiking layers.",
    "spikes": "Spikes fired.",
    "sops": "Synaptic operations: one addition of a weight each.",
}


class Totals:
    """A collector for Prometheus: what fired since the engine started, as of the last time that it was asked."""

    def __init__(self) -> None:
        self.counts = Counts().plain()

    def collect(self) -> Iterator[Any]:
        tokens = CounterMetricFamily(
            "spike_compressor_tokens", "Rows of the language model that were computed.", labels=["modality"]
        )
        for modality, count in self.counts["tokens"].items():
            tokens.add_metric([modality], count)
        yield tokens
        for name, text in _FAMILIES.items():
            family = CounterMetricFamily(f"spike_compressor_{name}", text, labels=["kind", "modality"])
            for entry in self.counts["layers"]:
                family.add_metric([entry["kind"], entry["modality"]], entry[name])
            yield family


class SpikeCounts:
    """Middleware (ASGI) of vLLM's server.

    Args:
        app: what it stands before.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app, self._totals = app, Totals()
        REGISTRY.register(self._totals)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else ""
        if path == PATH or path.startswith(f"{PATH}/"):
            try:
                status, answer = 200, await self._counts(scope, unquote(path[len(PATH) + 1 :]) or None)
            except InputError as error:
                status, answer = 404, {"error": {"message": str(error), "code": 404}}
            await _send(send, status, answer)
            return
        if path == _METRICS:
            with contextlib.suppress(InputError):  # nothing is counted; vLLM's own numbers are wanted none the less
                self._totals.counts = await self._counts(scope, None)
        await self._app(scope, receive, send)

    async def _counts(self, scope: dict[str, Any], request: str | None) -> dict[str, Any]:
        engine = scope["app"].state.engine_client
        require_counting(engine.vllm_config)
        return told(await engine.collective_rpc(KEY, args=(request,)), request)


async def _send(send: Any, status: int, answer: Any) -> None:
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""The whole estimate: chips, GPUs and the ladder on one load, intervals, a tornado, and a service of many chips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import inf
from typing import Any

from spike_compressor.errors import InputError
from spike_compressor.estimate.accelerator import Chip
from spike_compressor.estimate.models import ModelFields, linears, parameters
from spike_compressor.estimate.organisations import Job
from spike_compressor.estimate.phases import Phase, phase
from spike_compressor.estimate.rivals import FORMATS, Gpu, Roofline, ladder, roofline
from spike_compressor.estimate.scale import FILLED, Group, Prices, fleet, group, largest_batch
from spike_compressor.estimate.statistics import parts_of
from spike_compressor.estimate.uncertainty import UNCERTAIN, changed, intervals, tornado
from spike_compressor.estimate.work import Load, Plan, cache_bytes, decode, prefill
from spike_compressor.layer_kinds import layer_kind
from spike_compressor.trace import Bundle

#: Figures that have a tornado.
TORNADO = ("prefill_tokens_per_s", "prefill_joules_per_token", "decode_joules_per_token")


@dataclass(frozen=True)
class Service:
    """A service to estimate.

    Attributes:
        tokens_a_day: of answers.
        chips: that hold a model together, one number or several to compare.
        step_ms: a sequence waits for a token so long at most.
        prices: beside energy.
    """

    tokens_a_day: float
    chips: Sequence[int] = (1, 2, 4, 8, 16)
    step_ms: float = 50.0
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        amounts = {"tokens_a_day": self.tokens_a_day, "step_ms": self.step_ms, **asdict(self.prices)}
        for name, value in amounts.items():
            free = name in ("chip_usd", "kwh_usd") and value == 0
            if not (0 < value < inf or free):
                raise InputError(f"{name} is {value:g}; it must be a number greater than 0")
        if self.prices.busy > 1:
            raise InputError(f"busy is {self.prices.busy:g}; it must be a share of the capacity, 1 at most")


def estimate(
    model: ModelFields,
    chips: Sequence[Chip],
    plan: Plan,
    load: Load,
    gpus: Iterable[Gpu] = (),
    *,
    draws: int = 200,
    seed: int = 0,
    service: Service | None = None,
    trace: Bundle | None = None,
) -> dict[str, Any]:
    """Time, power and energy of a model on accelerators, beside what else one would take.

    Args:
        model: its shapes.
        chips: accelerators; intervals and tornado are of each, the ladder has the area of the first.
        plan: how layers spike.
        load: what is asked.
        gpus: at their rooflines.
        draws: for intervals; 0 leaves them out.
        seed: of the draws.
        service: many chips.
        trace: whose layers are to be shown by themselves, too.

    Returns:
        Plain values, all *estimated*; `report` shows them.

    Raises:
        InputError: no accelerator; rows of a modality of which nothing is known.
    """
    gpus = list(gpus)
    if not chips:
        raise InputError("no accelerator to estimate; name one")
    result: dict[str, Any] = {
        "label": "estimated",
        "model": {"name": model.name, "source": model.source, "parameters": parameters(model)},
        "load": asdict(load),
        "spikes": _plan_rows(model, plan),
        "seed": seed,
        "draws": draws,
        "chips": [_chip(chip, model, plan, load, draws, seed) for chip in chips],
        "gpus": [_gpu(one, form, model, load) for one in gpus for form in FORMATS],
        "ladder": [
            _rung(name, chip, model, plan, load) for name, chip in ladder(chips[0], plan.most_timesteps).items()
        ],
        "uncertain": [asdict(one) for one in UNCERTAIN],
    }
    if trace is not None:
        result["traced"] = traced(chips, trace)
    if service is not None:
        result["service"] = _service(chips, model, plan, load, service)
        result["service"]["gpus"] = [row for one in gpus for row in _gpu_batches(one, model, load)]
    return result


def traced(chips: Sequence[Chip], bundle: Bundle) -> list[dict[str, Any]]:
    """Cycles of one core for the layers of a trace, by kind: from every spike, and from their statistics.

    Args:
        chips: accelerators; a layer that has more inputs than a core holds is taken as if it held them.
        bundle: of layers in `tc_lif`.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for info in bundle.infos:
        layer = bundle.layer(info.name)
        job = Job(tuple(parts_of(layer)), info.in_features, info.out_features, layer.groups)
        kind = layer_kind(info.name, {layer.modalities[code] for code in layer.modality})
        for chip in chips:
            core, name = chip.organisation, chip.fields.name
            row = found.setdefault(
                (name, kind), {"name": name, "kind": kind, "layers": 0, "macs": 0, "spikes": 0.0, "statistics": 0.0}
            )
            row["layers"] += 1
            row["macs"] += job.macs
            row["spikes"] += core.exact(job, core.tile_words(layer))
            row["statistics"] += core.cycles(job).total
    return list(found.values())


def phases(chip: Chip, model: ModelFields, plan: Plan, load: Load) -> tuple[Phase, Phase]:
    """Reading the prompts, and one token of every answer."""
    first = phase(chip, plan, prefill(model, load), load, load.prompt * load.batch)
    return first, phase(chip, plan, decode(model, load), load, load.batch)


def figures(first: Phase, step: Phase, load: Load) -> dict[str, float]:
    """What is drawn and compared: of answers, prompts in the account for the last two."""
    seconds = first.seconds + load.new_tokens * step.seconds
    joules = first.joules + load.new_tokens * step.joules
    tokens = load.new_tokens * load.batch
    return {
        "prefill_tokens_per_s": first.tokens_per_s,
        "prefill_watts": first.watts,
        "prefill_joules_per_token": first.joules / first.tokens,
        "decode_tokens_per_s": step.tokens_per_s,
        "decode_watts": step.watts,
        "decode_joules_per_token": step.joules / step.tokens,
        "answer_tokens_per_s": tokens / seconds,
        "answer_joules_per_token": joules / tokens,
    }


def _chip(chip: Chip, model: ModelFields, plan: Plan, load: Load, draws: int, seed: int) -> dict[str, Any]:
    first, step = phases(chip, model, plan, load)

    def evaluate(changes: Mapping[str, float]) -> dict[str, float]:
        other, spikes = changed(chip, plan, changes)
        return figures(*phases(other, model, spikes, load), load)

    return {
        "name": chip.fields.name,
        "organisation": chip.fields.organisation,
        "technology": chip.process.name,
        "areas_and_clock": chip.process.label,
        "cores": chip.cores,
        "core_mm2": chip.core.area_mm2,
        "clock_mhz": chip.clock_hz / 1e6,
        "figures": figures(first, step, load),
        "intervals": intervals(evaluate, draws, seed) if draws else {},
        "prefill": _shown(first),
        "decode": _shown(step),
        "tornado": tornado(evaluate, TORNADO),
    }


def _shown(one: Phase) -> dict[str, Any]:
    return {
        "seconds": one.seconds,
        "bound": one.bound_by(),
        "joules": one.energy_by(),
        "parts": {
            kind: {
                "seconds": part.seconds,
                "array": part.array,
                "memory": part.dram,
                "side": part.side,
                "macs": part.macs,
                "dram_bytes": part.dram_bytes,
                "bound": max(part.bound, key=lambda name: part.bound[name]),
            }
            for kind, part in one.parts.items()
        },
    }


def _gpu(one: Gpu, form: str, model: ModelFields, load: Load) -> dict[str, Any]:
    first = roofline(one, form, prefill(model, load), load, load.prompt * load.batch)
    step = roofline(one, form, decode(model, load), load, load.batch)
    fits = _gpu_bytes(model, form, load) <= one.gib * 2**30
    return {
        "name": one.name,
        "format": form,
        "source": one.source,
        "watts": one.watts,
        "fits": fits,
        "prefill_tokens_per_s": first.tokens_per_s,
        "prefill_memory_share": first.memory,
        "prefill_joules_per_token": first.joules_per_token,
        "decode_tokens_per_s": step.tokens_per_s,
        "decode_memory_share": step.memory,
        "decode_joules_per_token": step.joules_per_token,
        **_answer(first, step, load),
    }


def _gpu_batches(one: Gpu, model: ModelFields, load: Load) -> list[dict[str, Any]]:
    """Batches on a GPU that holds weights, keys and values: answers a second, prompts in the account."""
    rows = []
    for form in ("INT8", "W4A16"):
        for batch in (64, 256):
            own = replace(load, batch=batch, kv_bits=FORMATS[form].kv_bits)
            if _gpu_bytes(model, form, own) + cache_bytes(model, own) > one.gib * 2**30 * FILLED:
                continue
            found = _gpu(one, form, model, own)
            rows.append(
                {
                    "name": f"{one.name}, {form}",
                    "batch": batch,
                    "decode_memory_share": found["decode_memory_share"],
                    "tokens_per_s": found["answer_tokens_per_s"],
                    "joules_per_token": found["answer_joules_per_token"],
                }
            )
    return rows


def _answer(first: Roofline, step: Roofline, load: Load) -> dict[str, float]:
    seconds = first.seconds + load.new_tokens * step.seconds
    tokens = load.new_tokens * load.batch
    return {
        "answer_tokens_per_s": tokens / seconds,
        "answer_joules_per_token": seconds * first.watts / tokens,
    }


def _gpu_bytes(model: ModelFields, form: str, load: Load) -> float:
    """Weights of all Linears, and embeddings, in a format."""
    kind = FORMATS[form]
    head = model.decoder.vocabulary * model.decoder.hidden
    body = sum(one.weights for one in linears(model) if one.kind != "lm_head")
    return (body * kind.weight_bits + head * kind.head_bits * (1 if model.decoder.tied else 2)) / 8


def _rung(name: str, chip: Chip, model: ModelFields, plan: Plan, load: Load) -> dict[str, Any]:
    first, step = phases(chip, model, plan, load)
    return {
        "name": name,
        "cores": chip.cores,
        "clock_mhz": chip.clock_hz / 1e6,
        "figures": figures(first, step, load),
        "prefill_bound": first.bound_by(),
        "decode_bound": step.bound_by(),
    }


def _plan_rows(model: ModelFields, plan: Plan) -> list[dict[str, Any]]:
    rows = []
    kinds = dict.fromkeys(one.kind for one in linears(model) if one.kind != "lm_head")
    for kind in kinds:
        for modality in ("vision", "text"):
            if modality == "text" and kind in ("vision tower", "projector"):
                continue
            try:
                spikes = plan.of(kind, modality)
            except InputError:
                continue
            rows.append(
                {"kind": kind, "modality": modality, "timesteps": spikes.timesteps, "per_input": spikes.per_input}
            )
    return rows


def _service(chips: Sequence[Chip], model: ModelFields, plan: Plan, load: Load, service: Service) -> dict[str, Any]:
    return {
        "tokens_a_day": service.tokens_a_day,
        "step_ms": service.step_ms,
        "prices": asdict(service.prices),
        "rows": [
            row
            for chip in chips
            for count in service.chips
            if (row := _service_row(chip, model, plan, load, service, count)) is not None
        ],
        "batches": [row for chip in chips for row in _batches(chip, model, plan, load, max(service.chips))],
    }


def _service_row(
    chip: Chip, model: ModelFields, plan: Plan, load: Load, service: Service, count: int
) -> dict[str, Any] | None:
    best = largest_batch(chip, model, plan, load, count, service.step_ms)
    if best is None:
        return None
    return {"name": chip.fields.name, **_group(best), **asdict(fleet(best, service.tokens_a_day, service.prices))}


def _group(one: Group) -> dict[str, Any]:
    return {
        "chips_of_a_model": one.chips,
        "batch": one.batch,
        "step_ms": one.step * 1e3,
        "link_share": one.link_share,
        "tokens_per_s": one.tokens_per_s,
        "tokens_per_s_a_chip": one.tokens_per_s / one.chips,
        "joules_per_token": one.joules_per_token,
        "decode_bound": one.decode.bound_by(),
    }


def _batches(chip: Chip, model: ModelFields, plan: Plan, load: Load, most: int) -> list[dict[str, Any]]:
    """Decode by batch, on as few chips as hold the largest: where memory stops to decide."""
    rows = []
    for batch in (1, 4, 16, 64, 256):
        count = 1
        while count <= max(most, 1):
            try:
                found = group(chip, model, plan, replace(load, batch=batch), count)
            except InputError:
                count *= 2
                continue
            rows.append({"name": chip.fields.name, **_group(found)})
            break
    return rows

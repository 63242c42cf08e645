"""Which core takes which coding, and the inputs of a bundle coded for the cores that do not take its own.

A core computes codes, not models: so that all three organisations stand beside each other on the same layers, inputs
are coded anew where a core does not know the bundle's coding. A coding of the same integers (`csd`, `tc_lif_rdoq`)
becomes `tc_lif`, sum for sum the same. Between `tc_lif` and groups, quality has to be the same instead: S = 5 and 6 in
turn is as good as T = 3, S = 7 as T = 4 (docs/results/group_gates_embedded.md), both at their usual thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dense_model import EVERY, DenseShape, dense_cycles
from generate import arrays_from_membranes
from images import Shape, dense_products
from run_trace import GROUP_CODING, GROUP_STEPS, run
from spike_compressor.trace import (
    CODINGS,
    GROUP_CODINGS,
    Bundle,
    BundleWriter,
    Layer,
    TraceError,
    group_membranes,
    open_bundle,
)
from spike_compressor.trace.schema import CAPPED_CODINGS, RDOQ_CODING
from synthesised import Worked

EVENT, DENSE, GROUP = "event core", "dense baseline", "group core"
#: Who fires a coding; `DENSE` fires nothing, and takes the codes of `tc_lif`.
TAKES = {
    "tc_lif": (EVENT, DENSE),
    "csd": (EVENT,),
    RDOQ_CODING: (),
    **dict.fromkeys(CAPPED_CODINGS, (EVENT,)),  # each on one of its own
    "group4_beam4": (GROUP,),
    "group4": (),
}
#: Steps of groups that are as good as T, in layers by turns; and T by S.
STEPS_OF = {1: (2,), 2: (4,), 3: (5, 6), 4: (7,)}
T_OF = {steps: t for t, all_steps in STEPS_OF.items() for steps in all_steps} | {3: 2}
#: Largest code over a row's root mean square at which S steps err least on Gaussian inputs (group_snr.md).
RATIOS = {2: 1.1, 3: 0.8, 4: 0.58, 5: 0.4, 6: 0.28, 7: 0.2}
FRAC_BITS, GROUP_FRAC_BITS = 16, 7
#: Dense arrays beside the one that is simulated: rows, columns, lanes, planes of a pass.
OTHERS = ((8, 16, 16, None), (8, 16, 8, 3))


def require_benchable(bundle: Bundle, names: Sequence[str]) -> None:
    """Refuse a bundle whose inputs no core can be given, or that mixes codings of different kinds.

    Raises:
        TraceError: names the layer, its coding, and who takes what.
    """
    kinds = {}
    for name in names:
        coding = bundle.layer(name).info.coding
        if not TAKES.get(coding) and coding != RDOQ_CODING:
            table = "; ".join(f"{core}: {', '.join(c for c in TAKES if core in TAKES[c])}" for core in (EVENT, GROUP))
            raise TraceError(
                f"layer {name} is coded in {coding}, which no core here takes ({table}; {RDOQ_CODING} by its codes): "
                "export the bundle in one of these"
            )
        kinds[coding if coding in CAPPED_CODINGS else "in groups" if coding in GROUP_CODINGS else "plain"] = name
    if len(kinds) > 1:
        listed = " and ".join(f"{name} ({kind})" for kind, name in kinds.items())
        raise TraceError(f"layers {listed} run on different cores: name those of one kind with --layer")


def event_bundle(bundle: Bundle, names: Sequence[str], folder: Path) -> Bundle:
    """The bundle as the event core runs it: its own, or coded in `tc_lif`.

    Raises:
        TraceError: a row's S has no T that is as good.
    """
    if all(bundle.layer(name).info.coding in (*CODINGS, *CAPPED_CODINGS) for name in names):
        return bundle
    return _written(bundle, names, folder, _plain)


def dense_bundle(event: Bundle, names: Sequence[str], folder: Path) -> Bundle:
    """What the event core runs, for the dense baseline: the same codes, in `tc_lif`."""
    if all(event.layer(name).info.coding == "tc_lif" for name in names):
        return event
    return _written(event, names, folder, _plain)


def group_bundle(bundle: Bundle, names: Sequence[str], folder: Path) -> Bundle | None:
    """The bundle as the group core runs it; None if a row's T has no S here that is as good, or groups do not fit."""
    layers = [bundle.layer(name) for name in names]
    if all(layer.info.coding == GROUP_CODING for layer in layers):
        return bundle
    if any(int(layer.timesteps.max()) not in STEPS_OF for layer in layers):
        return None
    if any(layer.groups > 1 and layer.info.in_features // layer.groups % 4 for layer in layers):
        return None
    return _written(bundle, names, folder, _grouped)


def group_core(bundle: Bundle, names: Sequence[str], shape: tuple[int, int, int, int]) -> Shape:
    """A group core that computes these layers: rows, columns, groups of a chunk and encoders as given."""
    layers = [bundle.layer(name) for name in names]
    rows, columns, groups, units = shape
    most = max(int(layer.timesteps.max()) for layer in layers)
    if most > GROUP_STEPS:
        raise TraceError(f"{bundle.path}: rows of {most} steps; the group core has up to {GROUP_STEPS}")
    bits = max(layer.info.weight_bits for layer in layers)
    return Shape(rows, columns, 4 * groups, 1, groups, bits, max(6, most), 1, False, units=units)


#: Coding, fraction bits, membranes and T of a layer that is coded anew.
Coded = tuple[str, int, np.ndarray, np.ndarray]


def _written(bundle: Bundle, names: Sequence[str], folder: Path, coded: Callable[[Layer, int], Coded]) -> Bundle:
    with BundleWriter(folder, producer={"name": "tb"}, model={"name": str(bundle.path)}) as out:
        for index, name in enumerate(names):
            layer = bundle.layer(name)
            coding, frac_bits, membrane, steps = coded(layer, index)
            arrays = arrays_from_membranes(
                membrane,
                steps,
                layer.weight,
                coding=coding,
                frac_bits=frac_bits,
                groups=layer.groups,
                rng=np.random.default_rng(1),
                grouped=layer.acc.ndim == 3,
            )
            arrays["modality"] = layer.modality
            out.add_layer(name, coding=coding, frac_bits=frac_bits, weight_bits=layer.info.weight_bits, **arrays)
    return open_bundle(folder)


def _plain(layer: Layer, index: int) -> Coded:
    """In `tc_lif`: the same codes, or those of the threshold at which a row's largest input does not clip."""
    if layer.info.coding not in GROUP_CODINGS:
        return "tc_lif", FRAC_BITS, layer.codes.astype(np.int32) << FRAC_BITS, layer.timesteps
    missing = sorted(set(layer.timesteps.tolist()) - set(T_OF))
    if missing:
        raise TraceError(f"layer {layer.name}: no T is known to be as good as S = {missing[0]}")
    steps = np.array([T_OF[int(s)] for s in layer.timesteps], np.uint8)
    top = (1 << steps.astype(np.int64)) - 1
    x = layer.membrane.astype(np.float64)
    largest = np.maximum(np.abs(x).max(axis=1), 1)
    codes = np.trunc(np.abs(x) / largest[:, None] * top[:, None] + 0.5) * np.sign(x)
    return "tc_lif", FRAC_BITS, codes.astype(np.int32) << FRAC_BITS, steps


def _grouped(layer: Layer, index: int) -> Coded:
    """In groups, of what membranes say before they are rounded: layers take S by turns."""
    choices = {t: steps[index % len(steps)] for t, steps in STEPS_OF.items()}
    steps = np.array([choices[int(t)] for t in layer.timesteps], np.uint8)
    x = layer.membrane.astype(np.float32)
    rms = np.sqrt(np.square(x).mean(axis=1, dtype=np.float64))
    ratio = np.array([RATIOS[int(s)] for s in steps])
    scale = np.where(rms > 0, rms * ratio / 2.0 ** (steps.astype(float) - 1), 1).astype(np.float32)
    return GROUP_CODING, GROUP_FRAC_BITS, group_membranes(x, scale, steps), steps


@dataclass(frozen=True)
class Bench:
    """A bundle as each core runs it, and what the cores said.

    Args:
        names: of the layers.
        event, dense, group: the bundles; None: a core is not simulated.
    """

    names: list[str]
    event: Bundle
    dense: Bundle | None
    group: Bundle | None

    @classmethod
    def of(cls, bundle: Bundle, names: list[str], folder: Path, *, ideal: bool) -> Bench:
        """With inputs coded anew where a core does not take the bundle's coding. Raises TraceError as that does."""
        require_benchable(bundle, names)
        event = event_bundle(bundle, names, folder / "event")
        dense = None if ideal else dense_bundle(event, names, folder / "dense")
        return cls(names, event, dense, group_bundle(bundle, names, folder / "group"))

    def simulated(self, bundle: Bundle, shape: Shape, **options: Any) -> list[dict]:
        """Verdicts of a core. Raises AssertionError if it and the bundle differ."""
        found = run(bundle, self.names, shape=shape, spike_stream=False, seed=1, stalls=False, quiet=True, **options)
        failed = [verdict["error"] for verdict in found if verdict["error"]]
        if failed or len(found) != len(self.names):
            raise AssertionError(failed[0] if failed else "the simulation broke off")
        return found

    def row_cycles(self, verdicts: list[dict]) -> dict[str, np.ndarray]:
        """The group core's cycles by layer, of each row: shared as steps are."""
        assert self.group is not None
        found = {}
        for verdict in verdicts:
            steps = self.group.layer(verdict["layer"]).timesteps.astype(float)
            found[verdict["layer"]] = verdict["cycles"] * steps / steps.sum()
        return found


def worked(
    bench: Bench, report: dict[str, Any], shape: Shape, dense: DenseShape, group: Shape | None, verdicts: list[dict]
) -> list[Worked]:
    """What each core did, for the libraries: those that were simulated, and other dense arrays."""
    total = report["total"]
    layers = [bench.event.layer(name) for name in bench.names]
    additions = total["spikes_per_input"] * total["macs"]
    spike = {key: value for key, value in shape.parameters().items() if key != "MaxInputs"}
    events = {"cycles": total["spike"]["cycles"], "words": total["spike"]["words"], "additions": additions}
    found = [Worked(EVENT, "spike", {"OneBlock": 0, "Capped": 0} | spike, events["cycles"], "simulated", events)]
    # others wait for streams and for first blocks as the one that was simulated does
    waiting = total["dense"]["cycles"] / sum(float(dense_cycles(layer, dense).sum()) for layer in layers)
    for rows, columns, lanes, planes in ((dense.rows, dense.columns, dense.lanes, dense.planes), *OTHERS):
        one = DenseShape(rows, columns, lanes, planes)
        if one == dense:
            cycles, how = float(total["dense"]["cycles"]), report["dense"]["cycles"]
        else:
            cycles, how = sum(float(dense_cycles(layer, one).sum()) for layer in layers) * waiting, "model"
        products = sum(float(dense_products(layer, one.tile, planes or EVERY).sum()) for layer in layers)
        events = {"cycles": cycles, "macs": products, "additions": additions}
        found.append(Worked(DENSE, "dense", one.parameters(shape.tmax), cycles, how, events))
    if group is not None:
        bundle = bench.group
        assert bundle is not None
        fired = [(np.count_nonzero(one.spikes), one.info.out_features) for one in map(bundle.layer, bench.names)]
        cycles = sum(float(verdict["cycles"]) for verdict in verdicts)
        events = {
            "cycles": cycles,
            "words": sum(float(verdict["counters"]["words"]) for verdict in verdicts),
            "additions": float(sum(spikes * outputs for spikes, outputs in fired)),
        }
        built = {"Rows": group.rows, "Columns": group.columns, "Groups": group.lanes // 4, "Units": group.units}
        found.append(Worked(GROUP, "group", built | {"Steps": group.tmax}, cycles, "simulated", events))
    return found

"""Modality evolution discrepancy (MED): how differently tokens of two modalities turn from layer to layer.

Per decoder layer l and modality m, `D_m(l) = 1 - mean_i cos(h_l[i], h_{l+1}[i])` over the tokens i of modality m, and
`MED(l) = D_text(l) - D_vision(l)`, likewise with audio and any other modality in vision's place. The name is
SpikeMLLM's (arXiv 2604.18610), which describes a cosine between layers as the proxy; this formula is our
reconstruction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spike_compressor.modality import TokenRows, modality_code
from spike_compressor.modifiers.distributed import sum_over_ranks


@dataclass(frozen=True)
class Curve:
    """D_m over depth for one modality.

    Attributes:
        mean: D_m(l), in 0 .. 2, one a decoder layer.
        half_width: of the 95 % confidence interval of each mean; NaN-free, 0 where one sample was all there was.
        tokens: tokens of the modality that each layer saw.
        samples: prompts with at least one such token.
    """

    mean: tuple[float, ...]
    half_width: tuple[float, ...]
    tokens: int
    samples: int


@dataclass(frozen=True)
class Evolution:
    """The raw curves.

    Attributes:
        layers: names of the decoder layers.
        curves: by modality, those that were seen.
    """

    layers: tuple[str, ...]
    curves: dict[str, Curve]

    @property
    def discrepancy(self) -> dict[str, tuple[float, ...]]:
        """MED(l) of text and each other modality that was seen, signed, by the other one's name."""
        if "text" not in self.curves:
            return {}
        text = self.curves["text"].mean
        return {
            name: tuple(t - other for t, other in zip(text, curve.mean, strict=True))
            for name, curve in self.curves.items()
            if name != "text"
        }

    def deviations(self) -> dict[str, tuple[float, ...]]:
        """How much further each modality turns than all do in the mean, as a share of the greatest difference of two.

        Of text and vision alone, half of `MED(l) / max |MED|` and half of its negative. Empty where fewer than two
        modalities were seen.
        """
        means = {name: curve.mean for name, curve in self.curves.items()}
        if len(means) < 2:
            return {}
        layers = range(len(self.layers))
        # sums of differences, not differences from a sum: equal values cancel exactly
        sums = {
            name: [sum(own[layer] - other[layer] for other in means.values()) for layer in layers]
            for name, own in means.items()
        }
        greatest = max(
            (abs(one[layer] - other[layer]) for one in means.values() for other in means.values() for layer in layers),
            default=0.0,
        )
        return {name: tuple(value / len(means) / (greatest or 1.0) for value in own) for name, own in sums.items()}

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `spike_config.json`."""
        discrepancy = self.discrepancy
        return {
            "layers": list(self.layers),
            "discrepancy": {name: list(values) for name, values in discrepancy.items()} or None,
            "modalities": {
                name: {
                    "mean": list(curve.mean),
                    "half_width": list(curve.half_width),
                    "tokens": curve.tokens,
                    "samples": curve.samples,
                }
                for name, curve in self.curves.items()
            },
        }


class EvolutionStatistics:
    """Streaming sums from which D_m(l) and its confidence follow; no hidden state is kept.

    Tokens of one prompt are not independent, so the interval treats prompts as clusters: with n_s tokens and a sum S_s
    of distances in prompt s, the mean is a ratio estimator `sum S_s / sum n_s`, whose variance is
    `C/(C-1) * sum (S_s - mean n_s)^2 / (sum n_s)^2` over C prompts (Cochran, Sampling Techniques, 3rd ed., 9A.3).
    """

    _SUMS = 6  # C, sum n, sum S, sum S^2, sum n S, sum n^2

    def __init__(self, layers: tuple[str, ...], modalities: tuple[str, ...]) -> None:
        self.layers, self.modalities = layers, modalities
        self.reset()

    def reset(self) -> None:
        """Forget everything: another pass over the data begins."""
        self._sums = torch.zeros(len(self.layers), len(self.modalities), self._SUMS, dtype=torch.float64)
        self._done: set[tuple[int, int]] = set()

    def has(self, layer: int, batch: int) -> bool:
        """Whether this batch counts in this layer already."""
        return (layer, batch) in self._done

    @torch.no_grad()  # in a pass with gradients the sums would hold every batch's graph
    def update(self, layer: int, batch: int, before: Tensor, after: Tensor, rows: TokenRows) -> None:
        """Add one batch of hidden states.

        Args:
            layer: index of the decoder layer.
            batch: index of the batch; a layer that runs twice on a batch counts once.
            before: its input [B, S, H].
            after: its output [B, S, H].
            rows: the batch's tokens [B, S].
        """
        if self.has(layer, batch):
            return
        self._done.add((layer, batch))
        # cos of a zero vector is 0: such a token counts as turned by a right angle
        cosine = torch.nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)
        distance = (1.0 - cosine).to(torch.float64)
        modality = rows.modality.to(distance.device)
        for index, name in enumerate(self.modalities):
            chosen = modality == modality_code(name)
            if rows.valid is not None:
                chosen = chosen & rows.valid.to(distance.device)
            n = chosen.sum(dim=1).to(torch.float64)
            S = distance.masked_fill(~chosen, 0.0).sum(dim=1)
            terms = torch.stack([(n > 0).to(torch.float64), n, S, S * S, n * S, n * n])
            self._sums[layer, index] += terms.sum(dim=1).cpu()

    def reduce(self) -> None:
        """Sum up over all ranks of a distributed calibration."""
        sum_over_ranks(self._sums)

    def result(self) -> Evolution:
        """The curves of the modalities that were seen."""
        curves = {}
        for index, name in enumerate(self.modalities):
            sums = self._sums[:, index].tolist()
            if not all(entry[1] for entry in sums):
                continue
            means, widths = [], []
            for C, n, S, SS, nS, nn in sums:
                mean = S / n
                spread = max(SS - 2 * mean * nS + mean * mean * nn, 0.0)
                variance = spread * C / (C - 1) / (n * n) if C > 1 else 0.0
                means.append(mean)
                widths.append(1.96 * math.sqrt(variance))
            curves[name] = Curve(tuple(means), tuple(widths), int(sums[0][1]), int(sums[0][0]))
        return Evolution(self.layers, curves)


def hidden_states(args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> tuple[Tensor, Tensor]:
    """Input and output [B, S, H] of one call of a decoder layer, however it passes them."""
    before = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
    after = output if isinstance(output, Tensor) else output[0]
    return before, after

"""How well group coding tells inputs: signal-to-noise ratio of coded rows, by steps, at the best threshold ratio.

    python benchmarks/group_snr.py --out docs/results/group_snr.json

Rows are random numbers of three kinds: Gauss, as after a rotation; Laplace, as many real inputs; and products
silu(2.5 g) * u of Gaussian g and u, as before a down projection. Beside them plain spikes by a row's largest input;
and, of the two roundings of plain spikes, how many spikes an input takes at equal ratios of signal to noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from harness import Goal, finish, parser, prepare
from spike_compressor.coding import quantize_rows, row_scale, spikes_from_codes
from torch import Tensor

NAME = "group_snr"
#: dB of a prototype in floats, by kind and steps: the beam of 8 and, of Gauss, the one of 4.
EXPECTED = {
    ("gauss", "group4"): {5: 17.6, 6: 21.3, 7: 24.6, 8: 27.9},
    ("gauss", "group4_beam4"): {5: 17.3, 6: 20.7, 7: 23.8, 8: 26.7},
    ("laplace", "group4"): {5: 17.1, 6: 20.4, 7: 23.2, 8: 26.3},
}
#: How far figures may lie from them.
NEAR = 0.3
#: Threshold ratios to the root mean square, by steps, around the best ones.
RATIOS = {
    5: (0.35, 0.4, 0.45, 0.5, 0.6, 0.7),
    6: (0.25, 0.28, 0.32, 0.36, 0.42, 0.5),
    7: (0.16, 0.18, 0.2, 0.23, 0.26, 0.32),
    8: (0.11, 0.125, 0.14, 0.16, 0.18, 0.22),
}
#: Codings that differ in rounding alone, dB at which they are compared, and ratios to the root mean square on the way.
ROUNDED = ("tc_lif", "tc_lif_rdoq")
LEVELS = (13, 16, 20, 24)
FINE = tuple(0.08 * 1.12**n for n in range(29))
#: How many spikes fewer the second takes, at the least.
FEWER = 0.05
#: Ratios to the largest input.
CLIPPED = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def samples(rows: int, width: int) -> dict[str, Tensor]:
    """Rows float32 [rows, width] by kind."""
    generator = torch.Generator().manual_seed(0)

    def gauss() -> Tensor:
        return torch.randn(rows, width, generator=generator)

    uniform = torch.rand(rows, width, generator=generator) - 0.5
    return {
        "gauss": gauss(),
        "laplace": -uniform.sign() * torch.log1p(-2 * uniform.abs()),
        "gated": torch.nn.functional.silu(2.5 * gauss()) * gauss(),
    }


def coded(x: Tensor, coding: str, timesteps: int, ratio: float, statistic: str) -> tuple[float, Tensor]:
    """dB of coded rows, and their codes."""
    scale = row_scale(x, timesteps, ratio, statistic, coding)
    codes = quantize_rows(x, scale, timesteps, coding)[0]
    lost = x - codes * scale.unsqueeze(1)
    return 10 * float(torch.log10(x.square().sum() / lost.square().sum())), codes


def best(x: Tensor, coding: str, timesteps: int, ratios: tuple[float, ...], statistic: str) -> tuple[float, float]:
    """dB at the best of the ratios, and that ratio."""
    return max((coded(x, coding, timesteps, ratio, statistic)[0], ratio) for ratio in ratios)


def spikes_at(x: Tensor, coding: str, levels: Sequence[float]) -> list[float]:
    """Spikes that an input takes at each ratio of signal to noise [dB], with T = 7 as range alone; interpolated."""
    points = []
    for ratio in FINE:
        db, codes = coded(x, coding, 7, ratio, "rms")
        points.append((db, spikes_from_codes(codes, 7, coding).count() / x.numel()))
    dbs, spikes = zip(*sorted(points), strict=True)
    return [float(value) for value in np.interp(levels, dbs, spikes)]


def main() -> int:
    made = parser(__doc__.splitlines()[0], f"{NAME}.json")
    made.add_argument("--rows", type=int, default=40)
    made.add_argument("--width", type=int, default=1024)
    args = made.parse_args()
    prepare(args.threads)
    rows: list[dict[str, Any]] = []
    far = []
    saved: list[tuple[float, str]] = []
    for kind, x in samples(args.rows, args.width).items():
        for coding in ("group4", "group4_beam4"):
            for steps, ratios in RATIOS.items():
                db, ratio = best(x, coding, steps, ratios, "rms")
                expected = EXPECTED.get((kind, coding), {}).get(steps)
                rows.append({"inputs": kind, "coding": coding, "steps": steps, "snr_db": db, "ratio": ratio})
                if expected is not None:
                    far.append(
                        (abs(db - expected), f"{kind}, {coding}, S = {steps}: {db:.2f} dB, prototype {expected}")
                    )
        for steps in (3, 4, 5):
            db, ratio = best(x, "tc_lif", steps, CLIPPED, "absmax")
            rows.append({"inputs": kind, "coding": "tc_lif", "steps": steps, "snr_db": db, "ratio": ratio})
        plain, chosen = (spikes_at(x, coding, LEVELS) for coding in ROUNDED)
        for coding, spikes in zip(ROUNDED, (plain, chosen), strict=True):
            rows += [
                {"inputs": kind, "coding": coding, "snr_db": db, "spikes": count}
                for db, count in zip(LEVELS, spikes, strict=True)
            ]
        saved += [
            (1 - after / before, f"{kind} at {db} dB") for db, before, after in zip(LEVELS, plain, chosen, strict=True)
        ]
    distance, where = max(far)
    goal = Goal(f"within {NEAR} dB of the prototype in floats", f"farthest: {where}", distance <= NEAR)
    least, most = min(saved), max(saved)
    found = f"{100 * least[0]:.1f} % ({least[1]}) to {100 * most[0]:.1f} % ({most[1]})"
    fewer = Goal(f"tc_lif_rdoq takes {100 * FEWER:.0f} % fewer spikes at equal dB", found, least[0] >= FEWER)
    return finish(NAME, args, {"rows": args.rows, "inputs of a row": args.width}, rows, [goal, fewer])


if __name__ == "__main__":
    raise SystemExit(main())

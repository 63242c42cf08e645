"""Read what a checkpoint's layers do: timesteps, what fired, what does not spike and why. Then change the plan.

    python examples/read_a_plan.py spiking
    python examples/read_a_plan.py spiking --raise 're:.*down_proj' --by 1 --out plan.yaml

Reading a spike-ready checkpoint needs neither torch nor LLM Compressor. The plan that is written goes into a recipe as
`MSTSModifier: {allocation: file, plan: plan.yaml}`.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter

import yaml
from spike_compressor.checkpoint import read_config


def main(argv: list[str] | None = None) -> None:
    """Print the plan; write a changed one if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="directory of a spike-ready checkpoint")
    parser.add_argument("--raise", dest="pattern", help="module name, or re: and a pattern, that gets more timesteps")
    parser.add_argument("--by", type=int, default=1, help="how many more")
    parser.add_argument("--out", default="plan.yaml", help="where to write the changed plan")
    args = parser.parse_args(argv)

    config = read_config(args.checkpoint)  # verified: a file that was changed by hand is refused
    print(f"{config.architecture}, coding {config.coding}, {len(config.plan)} layers spike")
    print(f"mean T {config.budget.mean_timesteps:.3f}, each layer and modality counted once")

    # layer -> modality -> T, as few lines: how many layers have which timesteps
    for timesteps, count in Counter(tuple(sorted(e.timesteps.items())) for e in config.plan.values()).items():
        print(f"{count:4} layers: {dict(timesteps)}")
    for reason, count in Counter(config.not_spiking.values()).items():
        print(f"{count:4} modules do not spike: {reason}")
    activity = config.activity
    if activity is not None and activity.not_measured is None:
        rates = {
            name: max(rows.firing_rate for rows in layer.modalities.values()) for name, layer in activity.layers.items()
        }
        busiest = max(rates, key=rates.__getitem__)
        print(f"fires most: {busiest}, {rates[busiest]:.3f} spikes per neuron and timestep")

    if args.pattern:
        plan = {name: dict(entry.timesteps) for name, entry in config.plan.items()}
        changed = [name for name in plan if matches(args.pattern, name)]
        for name in changed:
            plan[name] = {modality: min(T + args.by, 7) for modality, T in plan[name].items()}
        with open(args.out, "w", encoding="utf-8") as file:
            yaml.safe_dump(plan, file)
        print(f"{len(changed)} layers changed in {args.out}")


def matches(pattern: str, name: str) -> bool:
    """As in recipes: a whole name, or a regular expression after `re:`."""
    if pattern.startswith("re:"):
        return re.match(pattern.removeprefix("re:"), name) is not None
    return pattern == name


if __name__ == "__main__":
    main()

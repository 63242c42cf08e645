"""Importing the package: what it registers, in which order, and that it leaves LLM Compressor as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import spike_compressor
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ, RTN, Workshop
from safetensors.torch import load_file

PRELUDE = """
import sys, os
def check():
    from llmcompressor.recipe import Recipe
    text = "spike_stage:\\n  spike_modifiers:\\n    MSTSModifier: {timesteps: 3}\\n    TCLIFModifier: {}\\n"
    names = [type(modifier).__name__ for modifier in Recipe.create_instance(text).modifiers]
    assert names == ["MSTSModifier", "TCLIFModifier"], names
"""

# A process each, which costs seconds: so each checks all that it can.
ORDERS = {
    "plugin first": """
import spike_compressor
assert "torch" not in sys.modules
import importlib.machinery
from llmcompressor.modifiers.factory import ModifierFactory
import llmcompressor
check()
assert type(llmcompressor.__loader__) is importlib.machinery.SourceFileLoader
assert llmcompressor.__spec__.loader is llmcompressor.__loader__
assert not any("Host" in type(finder).__name__ for finder in sys.meta_path)
ModifierFactory.refresh()
check()
""",
    "a name of the plugin": "from spike_compressor import TCLIFModifier\ncheck()",
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_modifiers_are_known_in_every_order_of_imports(order: str) -> None:
    done = subprocess.run([sys.executable, "-c", PRELUDE + ORDERS[order]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_public_names() -> None:
    for name in spike_compressor.__all__:
        assert getattr(spike_compressor, name) is not None
        assert name in dir(spike_compressor)
    with pytest.raises(AttributeError, match=naming("'nonsense'")):
        spike_compressor.nonsense  # noqa: B018


# LLM Compressor alone runs the recipes; then the plugin is imported, after its host.
BASELINE = """
model_dir, out, tests, *recipes = sys.argv[1:]
import torch
torch.set_num_threads(1)
sys.path.insert(0, tests)
from helpers import tiny_models
from helpers.workshop import Processor
from llmcompressor import oneshot
for number, recipe in enumerate(recipes):
    model = tiny_models.LlamaForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    oneshot(model=model, processor=Processor(), dataset=tiny_models.loader(images=0), recipe=recipe,
            output_dir=os.path.join(out, str(number)))
assert "spike_compressor" not in sys.modules
import spike_compressor
check()
"""


def test_llm_compressors_own_recipes_are_as_before(workshop: Workshop, tmp_path: Path) -> None:
    """With the plugin in this process, without it in another, which gets to know the modifiers afterwards."""
    smooth = "SmoothQuantModifier: {smoothing_strength: 0.5}"
    recipes = [
        f"quant_stage:\n  quant_modifiers:\n    {RTN}\n",
        f"quant_stage:\n  quant_modifiers:\n    {smooth}\n    {GPTQ}\n",
    ]
    for number, text in enumerate(recipes):
        folder = tmp_path / "with" / str(number)
        workshop.oneshot("llama", text, dataset=tiny_models.loader(images=0), output_dir=str(folder))
    done = subprocess.run(
        [
            *(sys.executable, "-c", PRELUDE + BASELINE, str(workshop.source("llama"))),
            *(str(tmp_path / "without"), str(Path(__file__).parent), *recipes),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for number in range(len(recipes)):
        folders = [tmp_path / plugin / str(number) for plugin in ("with", "without")]
        assert len({tuple(sorted(path.name for path in folder.iterdir())) for folder in folders}) == 1
        assert (folders[0] / "config.json").read_text() == (folders[1] / "config.json").read_text()
        assert (folders[0] / "recipe.yaml").read_text() == (folders[1] / "recipe.yaml").read_text()
        tensors = [load_file(folder / "model.safetensors") for folder in folders]
        assert tensors[0].keys() == tensors[1].keys()
        assert all(tensor.equal(tensors[1][name]) for name, tensor in tensors[0].items())


def test_every_name_of_the_runtime_is_found_when_it_is_used() -> None:
    from spike_compressor import runtime

    for name in runtime.__all__:
        assert getattr(runtime, name) is not None
    with pytest.raises(AttributeError, match=naming("'nonsense'")):
        runtime.nonsense  # noqa: B018

"""What can be known of a recipe before calibration is said before it: no batch is read, the model stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from compressed_tensors.quantization import QuantizationScheme, QuantizationStatus
from helpers import tiny_models
from helpers.messages import naming
from helpers.workshop import GPTQ, IGNORE, RTN, W4, Processor, Workshop, recipe
from llmcompressor import oneshot
from spike_compressor import MSTSModifier, TCLIFModifier
from spike_compressor.errors import InputError
from spike_compressor.modifiers.reading import read_recipe
from spike_compressor.modifiers.sums import require_sums
from spike_compressor.runtime import spiking_layers, spiking_state
from spike_compressor.runtime.weights import stored_codes
from torch.utils.data import DataLoader


class Read(torch.utils.data.Dataset):
    """Samples that know how often one of them was read."""

    def __init__(self, images: int = 1) -> None:
        self.rows, self.count = tiny_models.samples(2, images), 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        self.count += 1
        return self.rows[index]


def refused(model: Any, text: Any, names: tuple[object, ...], **options: Any) -> None:
    """The recipe is an InputError that names these, with calibration data at hand that nobody has read."""
    data = Read()
    options = {"dataset": DataLoader(data, batch_size=2, collate_fn=tiny_models.collate), **options}
    with pytest.raises(InputError, match=naming(*names)) as caught:
        oneshot(model=model, processor=Processor(), recipe=text, **options)
    assert "\n" not in str(caught.value)
    assert data.count == 0
    assert not hasattr(model, "_spiking_state")


@pytest.fixture(scope="module")
def llava(workshop: Workshop) -> Any:
    """A model that only refused recipes run on."""
    return workshop.model("llava")


# Sums that could leave int32

#: Inputs of which 8-bit weights and codes up to 127 could, just so.
WIDE = (2**31 - 1) // (127 * 128) + 1
DOWN = "model.layers.0.mlp.down_proj"
W8 = "{targets: [Linear], weights: {num_bits: 8, type: int, symmetric: true, strategy: channel}}"
GROUPS = W8.replace("channel", "group, group_size: 5")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model with one Linear of so many inputs."""
    settings = tiny_models._text(hidden_size=8, num_hidden_layers=1, intermediate_size=WIDE, num_attention_heads=1)
    settings |= {"num_key_value_heads": 1, "head_dim": 8}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.normal_(0, 0.01)
    path = tmp_path_factory.mktemp("wide")
    model.save_pretrained(path)
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def at(weights: str, neurons: str, msts: str = "") -> str:
    """A recipe for the wide layer alone."""
    planner = f"    MSTSModifier: {{{msts}}}\n" if msts else ""
    only = f"targets: ['{DOWN}']"
    weights = weights.replace("targets: [Linear]", only)
    modifiers = f"  m_modifiers:\n    GPTQModifier: {{config_groups: {{w: {weights}}}}}\n"
    return f"s_stage:\n{modifiers}{planner}    TCLIFModifier: {{{only}, {neurons}}}\n"


@pytest.mark.parametrize(
    ("weights", "neurons", "msts"),
    [
        (W8, "timesteps: 7", ""),
        (W8, "coding: csd", "allocation: fixed, timesteps: 7"),
        (W8, "threshold_ratio: auto", "allocation: sensitivity, budget: {mean_timesteps: 3}"),
        (
            W8,
            "ignore: []",
            "allocation: uniform, budget: {mean_timesteps: 7}, max_timesteps: 6, overrides: {'re:.*': 7}",
        ),
        (W8[:-1] + ", input_activations: {num_bits: 8, type: int, dynamic: true, strategy: token}}", "ignore: []", ""),
    ],
)
def test_sums_beyond_int32_are_refused_by_their_sizes(weights: str, neurons: str, msts: str, wide: Any) -> None:
    refused(wide, at(weights, neurons, msts), (DOWN, "int32", 127 * 128 * WIDE, WIDE))


@pytest.mark.parametrize(
    ("weights", "coding", "T"), [(W8, "tc_lif", 6), (W4, "tc_lif", 7), (GROUPS, "csd", 7), (W8, "group4", 5)]
)
def test_sums_that_fit_are_not_refused(weights: str, coding: str, T: int) -> None:
    linear = torch.nn.Linear(WIDE, 1)
    linear.quantization_scheme = QuantizationScheme(**yaml.safe_load(weights))
    require_sums("layer", linear, coding, T)


def test_integers_that_are_there_are_asked_themselves() -> None:
    """Weights of 8 bits that are small fit where the largest would not."""
    linear = tiny_models.randomized_linear(1, WIDE, num_bits=8)
    with pytest.raises(InputError, match=naming("layer", "int32")):
        require_sums("layer", linear, "tc_lif", 7)
    linear.weight_scale.data *= 4
    linear.weight = torch.nn.Parameter(stored_codes(linear, linear.weight), requires_grad=False)
    linear.quantization_status = QuantizationStatus.COMPRESSED
    require_sums("layer", linear, "tc_lif", 7)


# Layers that a quantization modifier passes over

AUTOROUND = (
    f"AutoRoundModifier: {{iters: 1, enable_torch_compile: false, ignore: [IGNORED], config_groups: {{w4: {W4}}}}}"
)


def test_autoround_finds_no_scales_outside_of_decoder_layers(llava: Any) -> None:
    text = recipe(AUTOROUND.replace("IGNORED", "lm_head"))
    refused(llava, text, ("AutoRoundModifier", "model.multi_modal_projector.linear_1", "TCLIFModifier", "`ignore`"))


def test_layers_that_got_no_scales_do_not_spike(workshop: Workshop, tmp_path: Path) -> None:
    """LLM Compressor never shows AutoRound a tower's layers; their scales would be what the memory held."""
    ignored = r"lm_head, 're:model\.multi_modal_projector\..*'"
    text = recipe(AUTOROUND.replace("IGNORED", ignored), msts=None).replace(IGNORE, f"[{ignored}]")
    text = text.replace("TCLIFModifier: {", "TCLIFModifier: {timesteps: 4, ")
    first = "model.vision_tower.encoder.layers.0.self_attn.k_proj"
    with pytest.raises(InputError, match=naming(first, "scales", "`ignore`")):
        workshop.oneshot("llava", text, output_dir=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# Entries of `targets` and `ignore` that have no effect

PLAIN = f"""
spike_stage:
  quant_modifiers:
    GPTQModifier:
      ignore: [lm_head]
      config_groups: {{w4: {W4}}}
  spike_modifiers:
    TCLIFModifier: {{ignore: [lm_head], timesteps: 4}}
"""
TOWER = r"'re:model\.vision_tower\..*'"
UP = "model.language_model.layers.0.mlp.up_proj"


def ours(entry: str) -> str:
    return PLAIN.replace("TCLIFModifier: {ignore: [lm_head]", f"TCLIFModifier: {{ignore: [lm_head, {entry}]")


def theirs(entry: str) -> str:
    return PLAIN.replace("      ignore: [lm_head]\n", f"      ignore: [lm_head, {entry}]\n")


def before(modifier: str) -> str:
    return PLAIN.replace("  quant_modifiers:\n", f"  quant_modifiers:\n    {modifier}\n")


NO_EFFECT: dict[str, tuple[str, tuple[object, ...]]] = {
    "a parent": (ours("model.vision_tower"), ("TCLIFModifier.ignore", "'model.vision_tower'", TOWER)),
    "a parent's class": (ours("CLIPVisionModel"), ("TCLIFModifier.ignore", "'CLIPVisionModel'", TOWER)),
    "a parent's pattern": (ours("'re:.*vision_tower$'"), ("TCLIFModifier.ignore", TOWER)),
    "half a name": (ours("vision_tower"), ("TCLIFModifier.ignore", "'vision_tower'", "'re:.*vision_tower")),
    "half a leaf": (ours("up_proj"), ("TCLIFModifier.ignore", "'up_proj'", "'re:.*up_proj$'")),
    "not from the beginning": (ours("'re:vision_tower.*'"), ("TCLIFModifier.ignore", "'re:.*vision_tower.*'")),
    "a glob": (ours("'model.vision_tower.*'"), ("TCLIFModifier.ignore", TOWER[:-4])),
    "a typo": (ours("model.language_model.layers.0.mlp.up_porj"), ("TCLIFModifier.ignore", UP)),
    "a class's typo": (ours("CLIPVisionModle"), ("TCLIFModifier.ignore", "'CLIPVisionModel'")),
    "a pattern of nothing": (ours("'re:.*experts.*'"), ("TCLIFModifier.ignore", "'re:.*experts.*'", "vision_tower")),
    "no pattern": (ours("'re:*proj'"), ("TCLIFModifier.ignore", "'re:*proj'", "regular expression")),
    "of the quantization": (theirs("model.vision_tower"), ("GPTQModifier.ignore", TOWER)),
    "of the quantization, a typo": (theirs("'re:.*visoin_tower.*'"), ("GPTQModifier.ignore", "re:.*visoin_tower.*")),
    "targets of a group": (
        PLAIN.replace("targets: [Linear]", "targets: [Linaer]"),
        ("GPTQModifier.config_groups.w4.targets", "'Linaer'", "'Linear'"),
    ),
    "targets of a group without weights": (
        PLAIN.replace("targets: [Linear]", "targets: [Linear, LlamaMLP]"),
        ("GPTQModifier.config_groups.w4.targets", "'LlamaMLP'", r"'re:model\.language_model\.layers\.0\.mlp\..*'"),
    ),
    "targets of ours": (
        PLAIN.replace("{ignore: [lm_head]", "{targets: [Linear, up_proj], ignore: [lm_head]"),
        ("TCLIFModifier.targets", "'re:.*up_proj$'"),
    ),
    "of a rotation": (
        before("QuIPModifier: {targets: [Linear], ignore: [lm_head, vision_tower]}"),
        ("QuIPModifier.ignore", "'vision_tower'"),
    ),
    "of smoothing": (
        before("SmoothQuantModifier: {ignore: [input_layernorm]}"),
        ("SmoothQuantModifier.ignore", "'re:.*input_layernorm$'"),
    ),
    "attention": (
        PLAIN.replace("timesteps: 4}", "timesteps: 4, attention: {timesteps: 4, ignore: [self_attn]}}"),
        ("TCLIFModifier.attention.ignore", "'self_attn'"),
    ),
    "attention by what lies in it": (
        PLAIN.replace("timesteps: 4}", "timesteps: 4, attention: {timesteps: 4, ignore: [LlamaDecoderLayer]}}"),
        ("TCLIFModifier.attention.ignore", "'LlamaDecoderLayer'"),
    ),
}


@pytest.mark.parametrize("case", NO_EFFECT)
def test_entries_without_effect_are_refused_with_what_was_meant(case: str, llava: Any, workshop: Workshop) -> None:
    text, names = NO_EFFECT[case]
    if case.startswith("attention"):  # which modules have it is known when the neurons' turn has come
        refused(workshop.model("llava"), text, names)
    else:
        refused(llava, text, names)
        assert not any(hasattr(module, "quantization_scheme") for module in llava.modules())


EFFECT = [
    # another entry takes care of what is in it, and nothing in it was targeted
    "model.vision_tower, 're:.*vision_tower.*'",
    # no target, and nothing in it could be one
    "model.language_model.embed_tokens",
    # for several models at once
    "'re:.*no_such_tower.*|.*vision_tower.*'",
    "lm_head",
]


@pytest.mark.parametrize("entry", EFFECT)
def test_entries_with_the_effect_that_was_meant_are_taken(entry: str, workshop: Workshop) -> None:
    both = ours(entry).replace("[lm_head]", f"[lm_head, {entry}]").replace("GPTQ", "Quantization")
    model = workshop.oneshot("llava", both, dataset=None)
    assert ("model.vision_tower.encoder.layers.0.mlp.fc1" in spiking_layers(model)) is ("vision" not in entry)


ONE = {"vocab_size": 64, "d_model": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LAYERS = {
    f"{part}_{what}": 1 if what == "layers" else 4
    for part in ("encoder", "decoder")
    for what in ("layers", "attention_heads")
}
#: model, config, fields, and the head that is called otherwise
HEADS: dict[str, tuple[str, str, dict[str, Any], str | None]] = {
    "none": ("LlamaModel", "LlamaConfig", tiny_models._text(), None),
    "a class's": ("LlamaForSequenceClassification", "LlamaConfig", tiny_models._text(), None),
    "XLM": (
        "XLMWithLMHeadModel",
        "XLMConfig",
        {"vocab_size": 64, "emb_dim": 64, "n_layers": 1, "n_heads": 4},
        "pred_layer.proj",
    ),
    "Whisper": (
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        {**ONE, **LAYERS, "max_source_positions": 8},
        "proj_out",
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_head_that_every_recipe_ignores(kind: str, tmp_path: Path) -> None:
    """`lm_head` need not be there; where the model has a head of another name, that one was meant."""
    name, config_name, fields, head = HEADS[kind]
    model = tiny_models.saved(getattr(transformers, name)(getattr(transformers, config_name)(**fields)), tmp_path)
    text = PLAIN.replace("GPTQ", "Quantization")
    if head is not None:
        refused(model, text, ("QuantizationModifier.ignore", "'lm_head'", repr(head)))
        text = text.replace("[lm_head]", f"[{head}]")
    oneshot(model=model, recipe=text)
    assert head not in spiking_layers(model)


def test_a_default_need_not_match_and_is_not_written_down(tmp_path: Path, workshop: Workshop) -> None:
    model = workshop.model("llama").model
    text = (
        PLAIN.replace("GPTQ", "Quantization")
        .replace("ignore: [lm_head], ", "")
        .replace("      ignore: [lm_head]\n", "")
    )
    oneshot(model=model, recipe=text)
    assert "ignore" not in spiking_state(model).facts["recipe"].replace("ignore: []", "")
    again = workshop.model("llama").model
    oneshot(model=again, recipe=spiking_state(model).facts["recipe"])
    assert list(spiking_layers(again)) == list(spiking_layers(model))


# Parts of a recipe that LLM Compressor passes over

LOST: dict[str, tuple[str, tuple[object, ...]]] = {
    "group in the singular": (
        PLAIN.replace("spike_modifiers:", "spike_modifier:"),
        ("spike_modifier", "spike_modifiers"),
    ),
    "group without an ending": (
        PLAIN.replace("spike_modifiers:", "spikes:"),
        ("spikes", "'spikes_modifiers'", "TCLIFModifier"),
    ),
    "group called modifiers": (PLAIN.replace("spike_modifiers:", "modifiers:"), ("modifiers", "spike_modifiers")),
    "stage in the plural": (PLAIN.replace("spike_stage:", "spike_stages:"), ("spike_stages", "'spike_stage'")),
    "stage without an ending": (PLAIN.replace("spike_stage:", "spike:"), ("spike", "'spike_stage'", "GPTQModifier")),
    "stage with a number, as LLM Compressor appends it": (
        PLAIN.replace("spike_stage:", "default_stage_0:"),
        ("default_stage_0", "'default_0_stage'"),
    ),
    "no group": ("spike_stage: {TCLIFModifier: {timesteps: 4}}", ("spike_stage.TCLIFModifier", "NAME_modifiers")),
    "no stage": ("TCLIFModifier: {timesteps: 4}", ("TCLIFModifier", "NAME_stage")),
    "a group beside its stage": (
        PLAIN.replace("  spike_modifiers:\n    TCLIF", "spike_modifiers:\n  TCLIF"),
        ("spike_modifiers", "NAME_stage"),
    ),
    "run_type": (PLAIN.replace("  quant_modifiers", "  run_type: oneshot\n  quant_modifiers"), ("run_type", "remove")),
    "a key at the top": ("version: 1\n" + PLAIN, ("version", "remove")),
    "a modifier's typo": (PLAIN.replace("TCLIFModifier", "TCLFModifier"), ("TCLFModifier", "'TCLIFModifier'")),
    "another modifier's typo": (PLAIN.replace("GPTQModifier", "GTPQModifier"), ("GTPQModifier", "'GPTQModifier'")),
    "a modifier twice": (
        PLAIN + "    TCLIFModifier: {timesteps: 3}\n",
        ("TCLIFModifier", "twice", "line 9", "line 8"),
    ),
    "a field twice": (PLAIN.replace("timesteps: 4", "timesteps: 4, timesteps: 3"), ("timesteps", "twice")),
    "no fields": (
        PLAIN.replace("TCLIFModifier: {ignore: [lm_head], timesteps: 4}", "TCLIFModifier:"),
        ("TCLIFModifier: {}",),
    ),
    "a field of ours": (PLAIN.replace("timesteps: 4", "timestep: 4"), ("TCLIFModifier.timestep", "'timesteps'")),
    "a field of another": (PLAIN.replace("      ignore", "      ignroe"), ("GPTQModifier.ignroe", "'ignore'")),
    "a field deep in another": (
        PLAIN.replace("num_bits", "num_bitz"),
        ("GPTQModifier.config_groups.w4.weights.num_bitz", "'num_bits'"),
    ),
    "a value of a few": (
        PLAIN.replace("timesteps: 4", "timesteps: 4, threshold: statik"),
        ("TCLIFModifier.threshold", "'statik'", "'static'"),
    ),
    "true for a number": (PLAIN.replace("timesteps: 4", "timesteps: yes"), ("TCLIFModifier.timesteps", True)),
    "true within": (
        PLAIN.replace("timesteps: 4", "timesteps: {text: true, vision: 4}"),
        ("TCLIFModifier.timesteps", True),
    ),
}


@pytest.mark.parametrize("case", LOST)
def test_parts_that_would_be_passed_over_are_refused(case: str, llava: Any, tmp_path: Path) -> None:
    text, names = LOST[case]
    refused(llava, text, names)
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=naming(*names)):
        read_recipe(path)


@pytest.mark.parametrize(
    "text",
    [
        # anchors, by YAML's custom
        PLAIN.replace(W4, "*w4").replace("spike_stage:", f"x-groups: &w4 {W4}\nspike_stage:"),
        PLAIN.replace("spike_stage:", "args: {a: 1}\nspike_stage:"),
        "first_stage:"
        + PLAIN.partition("  spike_modifiers")[0].partition("spike_stage:")[2]
        + "second_stage:\n  spike_modifiers"
        + PLAIN.partition("  spike_modifiers")[2],
    ],
)
def test_what_has_an_effect_or_is_meant_to_have_none_is_read(text: str) -> None:
    assert [type(one).__name__ for one in read_recipe(text).modifiers] == ["GPTQModifier", "TCLIFModifier"]


def test_recipes_without_our_modifiers_are_llm_compressors_affair() -> None:
    plain = PLAIN.partition("  spike_modifiers")[0]
    assert read_recipe("version: 1\n" + plain).modifiers
    assert read_recipe(plain.replace("spike_stage:", "spike_stages:")).modifiers == []
    with pytest.raises(ValueError, match="GTPQ"):
        read_recipe(plain.replace("GPTQ", "GTPQ"))


def test_a_stage_that_is_asked_for_must_be_there(llava: Any) -> None:
    refused(llava, PLAIN, ("stage='spikes'", "'spike_stage'"), stage="spikes")
    first = PLAIN.replace("spike_stage:", "quant_stage:").partition("  spike_modifiers")
    two = first[0] + "spike_stage:\n  spike_modifiers" + first[2]
    assert [type(one) for one in read_recipe(two, "spike").modifiers] == [TCLIFModifier]


# Data

STATIC8 = RTN.replace("channel}", "channel}, input_activations: {num_bits: 8, dynamic: false, strategy: tensor}")
NEEDY: dict[str, tuple[str, tuple[object, ...]]] = {
    "GPTQ": (recipe(GPTQ), ("GPTQModifier",)),
    "AWQ": (recipe("AWQModifier: {}\n" + RTN), ("AWQModifier",)),
    "SmoothQuant": (recipe("SmoothQuantModifier: {}\n" + GPTQ), ("SmoothQuantModifier", "GPTQModifier")),
    "static activations": (recipe(STATIC8, msts=None), ("QuantizationModifier",)),
    "static thresholds": (recipe(RTN, "threshold: static"), ("TCLIFModifier", "`threshold: static`")),
    "fitted thresholds": (recipe(RTN, "threshold_ratio: auto"), ("TCLIFModifier", "`threshold_ratio: auto`")),
    "med": (recipe(RTN, msts="{allocation: med, budget: {mean_timesteps: 3}}"), ("MSTSModifier", "'med'")),
    "sensitivity": (
        recipe(RTN, msts="{allocation: sensitivity, budget: {mean_timesteps: 3}}"),
        ("MSTSModifier", "'sensitivity'"),
    ),
    "spikes for a budget": (
        recipe(RTN, msts="{allocation: uniform, budget: {sops_per_token: 2.0e5}}"),
        ("MSTSModifier", "'uniform'"),
    ),
    "a fractional mean": (
        recipe(RTN, msts="{allocation: uniform, budget: {mean_timesteps: 3.5}}"),
        ("MSTSModifier", "'uniform'"),
    ),
}


@pytest.mark.parametrize("case", NEEDY)
def test_a_recipe_that_needs_data_and_gets_none_says_so_at_once(case: str, llava: Any) -> None:
    text, names = NEEDY[case]
    refused(llava, text, (*names, "`dataset=`", "--data"), dataset=None)
    assert not any(hasattr(module, "quantization_scheme") for module in llava.modules())


@pytest.mark.parametrize(
    "msts", ["{allocation: fixed, timesteps: 3}", "{allocation: uniform, budget: {mean_timesteps: 3}}", None]
)
def test_a_recipe_that_needs_none_gets_along_without(msts: str | None, workshop: Workshop) -> None:
    text = recipe(RTN, "timesteps: 3" if msts is None else "", msts=msts)
    text_alone = DataLoader(Read(images=0), batch_size=2, collate_fn=tiny_models.collate)
    # enough where nothing is calibrated, be it read or not
    for options in ({"dataset": None}, {"dataset": text_alone}, {"dataset": text_alone, "pipeline": "basic"}):
        model = workshop.oneshot("llava", text, **options)
        assert {layer.spec.timesteps["text"] for layer in spiking_layers(model).values()} == {3}


# Modifiers that cannot work together


def test_modifiers_that_cannot_work_together(workshop: Workshop) -> None:
    llava = workshop.model("llava")
    after = PLAIN.replace("spike_stage:", "a_stage:").partition("  spike_modifiers")
    late = after[0].replace("a_stage", "z_stage") + "\n"
    neurons = "a_stage:\n  spike_modifiers" + after[2]
    refused(llava, neurons + late, ("GPTQModifier", "after", "TCLIFModifier"))
    refused(
        llava, neurons + "b_stage: {quant_modifiers: {QuIPModifier: {}}}", ("QuIPModifier", "after", "TCLIFModifier")
    )
    again = "b_stage: {spike_modifiers: {TCLIFModifier: {timesteps: 3}}}"
    refused(llava, PLAIN.lstrip() + again, (2, "TCLIFModifiers", "overrides"))
    from_python = [*read_recipe(PLAIN).modifiers[:1], MSTSModifier(timesteps=4)]
    refused(llava, [*from_python, TCLIFModifier(timesteps=3)], ("MSTSModifier", "TCLIFModifier.timesteps"))


def activations(fields: str) -> str:
    return PLAIN.replace("channel}}", "channel}, input_activations: {num_bits: 8, " + fields + "}}").replace(
        ", timesteps: 4", ""
    )


ASYMMETRIC = "symmetric: false, dynamic: true, strategy: token"
COMBINATIONS: dict[str, tuple[str, tuple[object, ...]]] = {
    "a ratio beside inherited static thresholds": (
        activations("dynamic: false, strategy: tensor").replace("[lm_head]}", "[lm_head], threshold_ratio: 0.9}"),
        ("k_proj", "TCLIFModifier.threshold_ratio", "threshold: dynamic"),
    ),
    "a fitted ratio beside inherited static thresholds": (
        activations("dynamic: false, strategy: tensor").replace("[lm_head]}", "[lm_head], threshold_ratio: auto}"),
        ("k_proj", "TCLIFModifier.threshold_ratio"),
    ),
    "a ratio of asymmetric rows": (
        activations(ASYMMETRIC).replace("[lm_head]}", "[lm_head], threshold_ratio: auto}"),
        ("k_proj", "TCLIFModifier.threshold_ratio", "symmetric"),
    ),
    "a statistic beside inherited static thresholds": (
        activations("dynamic: false, strategy: tensor").replace("[lm_head]}", "[lm_head], threshold_statistic: rms}"),
        ("k_proj", "TCLIFModifier.threshold_statistic", "threshold: dynamic"),
    ),
    "a statistic of asymmetric rows": (
        activations(ASYMMETRIC).replace("[lm_head]}", "[lm_head], threshold_statistic: mean_abs}"),
        ("k_proj", "TCLIFModifier.threshold_statistic", "symmetric"),
    ),
    "static thresholds of asymmetric rows": (
        activations(ASYMMETRIC).replace("[lm_head]}", "[lm_head], threshold: static}"),
        ("k_proj", "TCLIFModifier.threshold", "static"),
    ),
    "reordered groups": (
        PLAIN.replace("strategy: channel", "strategy: group, group_size: 32, actorder: group"),
        ("GPTQModifier.config_groups.w4.weights.actorder", "group"),
    ),
    "many bits": (PLAIN.replace("num_bits: 4", "num_bits: 16"), ("k_proj", 16, 8)),
}
BUDGETS: dict[str, tuple[str, tuple[object, ...]]] = {
    "beneath the least T": (
        "{allocation: uniform, budget: {mean_timesteps: 3}, min_timesteps: 4}",
        ("MSTSModifier.budget", "mean_timesteps", 3, 4),
    ),
    "beneath the overrides": (
        "{allocation: sensitivity, budget: {mean_timesteps: 2}, overrides: {'re:.*': 5}}",
        ("MSTSModifier.budget", "mean_timesteps", 2, 5),
    ),
    "an override's typo": (
        f"{{allocation: fixed, timesteps: 3, overrides: {{{UP.replace('up', 'upp')}: 2}}}}",
        ("MSTSModifier.overrides", repr(UP)),
    ),
    "a plan that cannot be written": ("{allocation: fixed, timesteps: 3, write_plan: .}", ("'.'", "directory")),
    "a plan beneath a file": (
        "{allocation: fixed, timesteps: 3, write_plan: README.md/plan.yaml}",
        ("README.md/plan.yaml", "README.md"),
    ),
}


@pytest.mark.parametrize("case", [*COMBINATIONS, *BUDGETS])
def test_settings_that_cannot_work_are_refused_before_data_are_read(
    case: str, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    if case in COMBINATIONS:
        text, names = COMBINATIONS[case]
    else:
        msts, names = BUDGETS[case]
        text = PLAIN.replace(", timesteps: 4", "").replace(
            "    TCLIFModifier", f"    MSTSModifier: {msts}\n    TCLIFModifier"
        )
        names = tuple(name for name in names if name != "'.'")
    refused(workshop.model("llava"), text, names)


def test_a_budget_is_held_against_what_the_model_has(workshop: Workshop) -> None:
    """A bound of vision rows binds no model that cannot see."""
    text = PLAIN.replace(", timesteps: 4", "").replace("GPTQ", "Quantization")
    msts = "MSTSModifier: {allocation: uniform, budget: {mean_timesteps: 3}, min_timesteps: {text: 2, vision: 5}}"
    text = text.replace("    TCLIFModifier", f"    {msts}\n    TCLIFModifier")
    model = workshop.oneshot("llama", text)
    assert {layer.spec.timesteps["text"] for layer in spiking_layers(model).values()} == {3}


@pytest.mark.parametrize("spikes", ["threshold: static", "threshold_ratio: auto"])
def test_a_pipeline_that_reads_nothing_calibrates_nothing(spikes: str, workshop: Workshop) -> None:
    class Stream(torch.utils.data.IterableDataset):
        """Samples without a known number, and none of them."""

        def __iter__(self) -> Any:
            return iter(())

    counted = DataLoader(Read(), batch_size=2, collate_fn=tiny_models.collate, sampler=[])
    for options, names in (
        ({"pipeline": "datafree"}, ("dataset", "'datafree'")),
        ({"pipeline": "basic", "dataset": DataLoader(Stream())}, ("dataset", "empty")),
        ({"dataset": counted}, ("dataset=", "empty")),
    ):
        model = workshop.model("llava")
        with pytest.raises(InputError, match=naming("TCLIFModifier", *names)):
            workshop.oneshot("llava", recipe(RTN, spikes), model=model, **options)
        assert not hasattr(model, "_spiking_state")

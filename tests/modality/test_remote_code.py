"""Remote-code architectures by configuration: placeholder ids, or a function of a call's arguments."""

from __future__ import annotations

import copy
import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import spike_compressor
import torch
from helpers.messages import naming
from helpers.remote_evaluation import MeanLogit, calibration
from helpers.tiny_architectures import ARCHITECTURES, tokens
from helpers.tiny_models import IMAGE, PAD, _loud, _text
from helpers.workshop import GPTQ, RTN, Processor, recipe
from spike_compressor.checkpoint import open_model, open_processor, read_config
from spike_compressor.demo.model import build_processor
from spike_compressor.errors import InputError
from spike_compressor.modality import ModalityTracker, TokenRows, adapter_for, configure_adapter, current_rows
from spike_compressor.modality.base import ADAPTERS
from spike_compressor.runtime import spiking_layers, spiking_state
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, dynamic_module_utils

SOURCES = Path(__file__).parent / "remote"
INTERNVL = {
    "vision_modules": ["vision_model", "mlp1"],
    "placeholder_ids": [IMAGE],
    "decoder_path": "language_model.model.layers",
    "methods": ["generate"],
}
MINICPM = {
    "vision_modules": ["vpm", "resampler"],
    "decoder_path": "llm.model.layers",
    "methods": ["generate"],
}
#: Two rows, padded on the left, with two pictures and one; MiniCPM-V puts any token where a picture will stand.
PROMPTS = ("B(IIII)ab(IIII)c", "....Ba(IIII)bcde")
MASKS = ("0011110000111100", "0000000111100000")
BOUNDS = (((2, 6), (10, 14)), ((7, 11),))


def image_bounds(inputs: Mapping[str, Any]) -> torch.Tensor | None:
    """The rule of MiniCPM-V: rows of pictures are given by their bounds."""
    data = inputs.get("data", inputs)
    if "image_bound" not in data:
        return None
    mask = torch.zeros_like(data["input_ids"])
    for row, bounds in enumerate(data["image_bound"]):
        for begin, end in bounds.tolist():
            mask[row, begin:end] = 1
    return mask


@pytest.fixture(autouse=True)
def _own_adapters() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    with ADAPTERS.temporarily():
        yield


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Directories of float models with their code beside them, as a hub has them."""
    cache = tmp_path_factory.mktemp("modules")
    patch = pytest.MonkeyPatch()
    patch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(cache))
    patch.syspath_prepend(str(cache))
    folders = {}
    for kind, class_name in (("internvl_chat", "InternVLChat"), ("minicpmv", "MiniCPMV")):
        folder = tmp_path_factory.mktemp(kind)
        shutil.copy(SOURCES / f"modeling_{kind}.py", folder)
        model_name = class_name + ("Model" if kind == "internvl_chat" else "")
        auto = {
            "AutoConfig": f"modeling_{kind}.{class_name}Config",
            "AutoModelForCausalLM": f"modeling_{kind}.{model_name}",
        }
        text = {"model_type": "qwen2", **_text(num_hidden_layers=2)}
        content = {"model_type": kind, "architectures": [model_name], "auto_map": auto, "llm_config": text}
        (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
        config = transformers_config(folder)
        model = _loud(AutoModelForCausalLM.from_config(config, trust_remote_code=True), 0)
        model.save_pretrained(folder)
        folders[kind] = folder
    yield folders
    patch.undo()
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def transformers_config(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, trust_remote_code=True)


def opened(folder: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.float32).eval()
    if hasattr(model, "img_context_token_id"):
        model.img_context_token_id = IMAGE  # as its `chat` does
    return model


def prompt(kind: str) -> dict[str, Any]:
    """Arguments of `generate`."""
    letters = [row.replace("I", "x") for row in PROMPTS] if kind == "minicpmv" else PROMPTS
    ids = torch.tensor([tokens(row) for row in letters])
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": (ids != PAD).long(), "pixel_values": pixels}
    if kind == "minicpmv":
        batch["pixel_values"] = [list(pixels[:2]), list(pixels[2:])]
        batch["image_bound"] = [torch.tensor(bounds) for bounds in BOUNDS]
    return batch


def forward(model: Any, kind: str) -> Any:
    """Logits of the prompt by `forward`."""
    with torch.no_grad():
        return model({**prompt(kind)}).logits if kind == "minicpmv" else model(**prompt(kind)).logits


CONFIGURE: dict[str, Callable[[], None]] = {
    "internvl_chat": lambda: configure_adapter("internvl_chat", **INTERNVL),
    "minicpmv": lambda: configure_adapter("minicpmv", token_rows=image_bounds, **MINICPM),
}
FIRST_LAYER = {"internvl_chat": "language_model.model.layers.0", "minicpmv": "llm.model.layers.0"}


def masks_seen(model: Any, kind: str) -> tuple[list[Any], list[Any]]:
    """A list that fills with the masks in force at the first decoder layer, and one with its inputs."""
    seen: list[Any] = []
    inputs: list[Any] = []

    def note(_: Any, args: Any, kwargs: Any) -> None:
        rows = current_rows()
        seen.append(None if rows is None else rows.modality.tolist())
        inputs.append(args[0] if args else kwargs["hidden_states"])

    model.get_submodule(FIRST_LAYER[kind]).register_forward_pre_hook(note, with_kwargs=True)
    return seen, inputs


EXPECTED = [[int(digit) for digit in mask] for mask in MASKS]


@pytest.mark.parametrize("kind", CONFIGURE)
def test_forward_and_generate_know_their_rows(kind: str, sources: dict[str, Path]) -> None:
    CONFIGURE[kind]()
    model = opened(sources[kind])
    tracker = ModalityTracker(model, adapter_for(model))
    seen, inputs = masks_seen(model, kind)
    forward(model, kind)
    assert seen == [EXPECTED]
    # where the model really put pictures: rows that are no multiple of the embedding table's
    own = model.get_input_embeddings()(prompt(kind)["input_ids"]) * (0.5 if kind == "minicpmv" else 1)
    assert (inputs[0] != own).any(-1).int().tolist() == EXPECTED
    seen.clear()
    model.generate(**prompt(kind), max_new_tokens=3, do_sample=False, eos_token_id=None)
    assert seen == [EXPECTED, [[0], [0]], [[0], [0]]]
    seen.clear()
    model.generate(**prompt(kind), max_new_tokens=2, do_sample=False, eos_token_id=None, num_beams=2)
    assert seen[0] == [EXPECTED[0], EXPECTED[0], EXPECTED[1], EXPECTED[1]]
    assert current_rows() is None
    tracker.remove()
    assert "generate" not in model.__dict__
    seen.clear()
    model.generate(**prompt(kind), max_new_tokens=1)
    assert seen == [None]


def test_copies_have_methods_of_their_own(sources: dict[str, Path]) -> None:
    CONFIGURE["internvl_chat"]()
    model = opened(sources["internvl_chat"])
    tracker = ModalityTracker(model, adapter_for(model))
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        seen, _ = masks_seen(twin, "internvl_chat")
        twin.generate(**prompt("internvl_chat"), max_new_tokens=1, eos_token_id=None)
        assert seen == [EXPECTED]
        assert twin.generate.model is twin
        assert twin.generate.tracker is not tracker


@pytest.fixture(scope="module")
def made(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Spiking models and their checkpoints."""
    from llmcompressor import oneshot
    from llmcompressor.args import DatasetArguments
    from loguru import logger

    logger.remove()
    results = {}
    with ADAPTERS.temporarily():
        for kind, configure in CONFIGURE.items():
            configure()
            model = opened(sources[kind])
            batch: Any = prompt(kind)
            batch = {"data": batch} if kind == "minicpmv" else batch
            data = DataLoader([batch], batch_size=None, collate_fn=lambda item: item)  # type: ignore[arg-type]
            text = recipe(GPTQ).replace("[lm_head,", "['re:.*lm_head',")
            path = tmp_path_factory.mktemp("made") / kind
            oneshot(
                model=model,
                processor=Processor(),
                recipe=text,
                dataset=data,
                pipeline="sequential",
                # writes pictures into rows, by numbers that the tracer does not know
                tracing_ignore=[*DatasetArguments().tracing_ignore, "get_vllm_embedding"],
                output_dir=str(path),
                trust_remote_code_model=True,
            )
            results[kind] = model, path
    return results


def test_a_checkpoint_with_ids_needs_no_configuration_again(made: dict[str, tuple[Any, Path]]) -> None:
    model, path = made["internvl_chat"]
    config = read_config(path)
    assert config.placeholders == {"vision": [IMAGE]}
    assert config.adapter.model_dump() == {
        "modules": {"vision": ["vision_model", "mlp1"]},
        "decoder_path": "language_model.model.layers",
        "methods": ["generate"],
        "token_rows": None,
        "configured": True,
    }
    assert config.calibration == {"samples": 2, "tokens": {"text": 28 - 12, "vision": 12}}
    for made_of in made.values():  # one batch of two prompts, in MiniCPM-V's case a dictionary within one
        run = spiking_state(made_of[0]).facts["activity"]["run"]
        assert (run["samples"], run["tokens"]["vision"]) == (2, 12)
    loaded = spike_compressor.load(path, trust_remote_code=True)
    loaded.img_context_token_id = IMAGE
    assert torch.equal(forward(loaded, "internvl_chat"), forward(model, "internvl_chat"))
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
    batch = prompt("internvl_chat")
    assert torch.equal(loaded.generate(**batch, **settings), model.generate(**batch, **settings))
    assert {name.partition(".")[0] for name in spiking_layers(loaded)} == {"vision_model", "mlp1", "language_model"}
    plain = opened(path)
    assert (forward(plain, "internvl_chat") - forward(model, "internvl_chat")).abs().mean() < 0.5


def test_a_checkpoint_with_a_function_needs_it_again(made: dict[str, tuple[Any, Path]]) -> None:
    model, path = made["minicpmv"]
    assert read_config(path).adapter.token_rows == "image_bounds"
    with pytest.raises(InputError, match=naming("'minicpmv'", "image_bounds", "spike_compressor.configure_adapter")):
        spike_compressor.load(path, trust_remote_code=True)
    configure_adapter("minicpmv", token_rows=lambda inputs: None, **MINICPM)
    with pytest.raises(InputError, match=naming("'minicpmv'", "token_rows", "<lambda>", "image_bounds")):
        spike_compressor.load(path, trust_remote_code=True)
    CONFIGURE["minicpmv"]()
    loaded = spike_compressor.load(path, trust_remote_code=True)
    assert torch.equal(forward(loaded, "minicpmv"), forward(model, "minicpmv"))
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
    batch = prompt("minicpmv")
    assert torch.equal(loaded.generate(**batch, **settings), model.generate(**batch, **settings))


def test_code_needs_leave_and_is_the_code_that_was_saved(made: dict[str, tuple[Any, Path]], tmp_path: Path) -> None:
    path = made["internvl_chat"][1]
    card = (path / "README.md").read_text(encoding="utf-8")
    assert 'spike_compressor.load("path/to/this/directory", trust_remote_code=True)' in card
    assert 'AutoModelForCausalLM.from_pretrained("path/to/this/directory", trust_remote_code=True)' in card
    with pytest.raises(
        InputError, match=naming(path, "modeling_internvl_chat.InternVLChatModel", "trust_remote_code=True")
    ):
        spike_compressor.load(path)
    twin = tmp_path / "twin"
    shutil.copytree(path, twin)
    with (twin / "modeling_internvl_chat.py").open("a", encoding="utf-8") as file:
        file.write("raise SystemExit('ran')\n")
    with pytest.raises(InputError, match=naming(twin, "modeling_internvl_chat.py", "SHA-256")):
        spike_compressor.load(twin, trust_remote_code=True)


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_recipes_are_compared_where_code_is_allowed(
    jobs: int, sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process and in others, which know neither its adapters nor its leave but by what they are given."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    source = Path(shutil.copytree(sources["internvl_chat"], tmp_path / "model"))
    build_processor().tokenizer.save_pretrained(source)
    path = tmp_path / "rtn.yaml"
    path.write_text(recipe(RTN).replace("[lm_head,", "['re:.*lm_head',"), encoding="utf-8")
    CONFIGURE["internvl_chat"]()
    asked = ([path], ["2/3"], [MeanLogit("")], calibration, tmp_path / "out")
    with pytest.raises(InputError, match=naming(source, "modeling_internvl_chat.", "--trust-remote-code")):
        spike_compressor.compare(source, *asked, jobs=jobs)
    result = spike_compressor.compare(source, *asked, jobs=jobs, trust_remote_code=True)
    assert [row["kind"] for row in result["rows"]] == ["float", "weights", "spiking", "integer"]
    values = [next(iter(row["figures"].values()))["value"] for row in result["rows"]]
    assert values[2] == values[3]
    assert len(set(values)) == 3


@pytest.mark.parametrize("kind", CONFIGURE)
def test_the_float_model_needs_leave_too(kind: str, sources: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=naming(sources[kind], f"modeling_{kind}.", "--trust-remote-code")):
        open_model(sources[kind])
    model = open_model(sources[kind], "bfloat16", trust_remote_code=True)
    assert model.dtype == torch.bfloat16
    assert not model.training
    assert type(model).__module__.startswith("transformers_modules")


def test_a_processor_that_needs_code_is_no_tokenizer_without_it(tmp_path: Path) -> None:
    """Where code is not allowed, the part of the processor that needs none must not be taken for all of it."""
    build_processor().tokenizer.save_pretrained(tmp_path)
    assert open_processor(tmp_path).pad_token == "<pad>"
    auto = {"AutoProcessor": "processing_seer.SeerProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps({"auto_map": auto}), encoding="utf-8")
    (tmp_path / "processing_seer.py").write_text(
        "from transformers import AutoTokenizer\n"
        "class SeerProcessor:\n"
        "    @classmethod\n"
        "    def from_pretrained(cls, path, **_):\n"
        "        made = cls()\n"
        "        made.tokenizer = AutoTokenizer.from_pretrained(path)\n"
        "        return made\n"
        "    @classmethod\n"
        "    def register_for_auto_class(cls, *_):\n"
        "        pass\n",
        encoding="utf-8",
    )
    with pytest.raises(InputError, match=naming(tmp_path, "processing_seer.SeerProcessor", "--trust-remote-code")):
        open_processor(tmp_path)
    assert open_processor(tmp_path, trust_remote_code=True).tokenizer.pad_token == "<pad>"


def test_the_class_of_remote_code_is_the_one_that_it_brings() -> None:
    from spike_compressor.checkpoint.opening import model_class
    from transformers import AutoModel, LlavaForConditionalGeneration

    remote = SimpleNamespace(architectures=["Seer"], auto_map={"AutoConfig": "m.C", "AutoModel": "m.Seer"})
    assert model_class(remote, True) is AutoModel
    assert (
        model_class(
            SimpleNamespace(**{**vars(remote), "auto_map": {"AutoModel": "", "AutoModelForCausalLM": ""}}), True
        )
        is AutoModelForCausalLM
    )
    llava = SimpleNamespace(architectures=["LlavaForConditionalGeneration"])
    assert model_class(llava) is LlavaForConditionalGeneration
    with pytest.raises(InputError, match=naming(["Seer"], "trust_remote_code")):
        model_class(remote, False)
    with pytest.raises(InputError, match=naming(["Seer"], "brings no code of its own")):
        model_class(SimpleNamespace(architectures=["Seer"]), True)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"placeholder_ids": [IMAGE, 9]}, ("placeholders", [5, 9], [5])),
        ({"vision_modules": ["vision_model"]}, ("modules", ["vision_model"], ["vision_model", "mlp1"])),
        ({"token_rows": image_bounds}, ("token_rows", "image_bounds", None)),
    ],
)
def test_another_adapter_than_the_checkpoints_is_refused(
    change: dict[str, Any], names: tuple[object, ...], made: dict[str, tuple[Any, Path]]
) -> None:
    configure_adapter("internvl_chat", **{**INTERNVL, **change})
    with pytest.raises(InputError, match=naming("'internvl_chat'", *names)):
        spike_compressor.load(made["internvl_chat"][1], trust_remote_code=True)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"vision_modules": "vision_model", "placeholder_ids": [5]}, ("vision_modules", "'vision_model'")),
        ({"vision_modules": [], "placeholder_ids": [5]}, ("vision_modules", "'seer'")),
        ({"vision_modules": ["eyes"]}, ("'seer'", "placeholder_ids", "token_rows")),
        ({"vision_modules": ["eyes"], "placeholder_ids": ["<image>"]}, ("placeholder_ids", ["<image>"])),
        ({"vision_modules": ["eyes"], "placeholder_ids": [5], "methods": "generate"}, ("methods", "'generate'")),
    ],
)
def test_what_cannot_be_configured(given: dict[str, Any], names: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=naming("configure_adapter", *names)):
        configure_adapter("seer", **given)


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (torch.zeros(3), ("[batch, sequence]", "TokenRows", [3])),
        ("vision", ("TokenRows", "str")),
        (torch.full((1, 2), 2), (2, "0 text", "1 vision")),
        (torch.zeros(1, 3), ([1, 3], [1, 2])),
    ],
)
def test_a_functions_wrong_answers_are_named(answer: Any, names: tuple[object, ...]) -> None:
    configure_adapter("seer", vision_modules=["eyes"], token_rows=lambda inputs: answer)
    adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="seer")))
    with pytest.raises(InputError, match=naming("<lambda>", "'seer'", *names)):
        adapter.rows({"input_ids": torch.tensor([[1, 2]])})


def test_a_function_may_leave_it_to_the_ids_or_say_all_itself() -> None:
    config = SimpleNamespace(config=SimpleNamespace(model_type="seer"))
    ids = torch.tensor([[9, IMAGE, 0]])
    mask = torch.tensor([[1, 1, 0]])
    configure_adapter("seer", vision_modules=["eyes"], placeholder_ids=[IMAGE], token_rows=lambda inputs: None)
    rows = adapter_for(config).rows({"input_ids": ids, "attention_mask": mask})
    assert rows.modality.tolist() == [[0, 1, 0]]
    assert rows.valid.tolist() == [[True, True, False]]
    assert adapter_for(config).rows({"inputs_embeds": torch.zeros(1, 3, 4)}) is None
    whole = TokenRows(torch.ones(1, 3, dtype=torch.uint8))
    configure_adapter("seer", vision_modules=["eyes"], token_rows=lambda inputs: whole)
    assert adapter_for(config).rows({"inputs_embeds": torch.zeros(1, 3, 4)}) is whole


def test_modules_and_methods_must_exist(sources: dict[str, Path]) -> None:
    model = opened(sources["internvl_chat"])
    with pytest.raises(
        InputError, match=naming("'internvl_chat'", "vision_config", "spike_compressor.configure_adapter")
    ):
        adapter_for(model)
    configure_adapter("internvl_chat", vision_modules=["vision_tower"], placeholder_ids=[IMAGE])
    with pytest.raises(
        InputError, match=naming("InternVLChatModel", "'vision_tower'", "language_model", "vision_model")
    ):
        adapter_for(model)
    configure_adapter("internvl_chat", vision_modules=["mlp1"], placeholder_ids=[IMAGE], methods=["answer"])
    with pytest.raises(InputError, match=naming("InternVLChatModel", "'answer'", "methods")):
        ModalityTracker(model, adapter_for(model))
    configure_adapter("internvl_chat", vision_modules=["mlp1"], placeholder_ids=[IMAGE], decoder_path="layers")
    with pytest.raises(InputError, match=naming("InternVLChatModel", "decoder_path", "'layers'")):
        adapter_for(model).decoder_layers(model)


def test_the_inner_model_of_a_known_architecture_is_refused_not_misread() -> None:
    """Without its head the names of modules are others: its tower would count as text."""
    inner = ARCHITECTURES["llava"].model().model
    with pytest.raises(InputError, match=naming("LlavaModel", "'model.vision_tower'", "'llava'")):
        adapter_for(inner)

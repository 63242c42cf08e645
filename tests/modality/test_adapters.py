"""Adapters that are a few names: each Linear of the architecture sees what its name says."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from helpers.adapters_by_name import BY_NAME, without_weights
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.modality import (
    AUDIO,
    TEXT,
    VISION,
    ModalityAdapter,
    adapter_for,
    configure_adapter,
    register_modality,
)
from spike_compressor.modality.base import ADAPTERS
from spike_compressor.modality.names import MODALITIES

#: what the encoder's rows, or a tower's, become in the middle of a decoder
CROSS = re.compile(r".*\.(encoder_attn|cross_attn)\.(k|v)_proj")


@pytest.mark.parametrize("name", BY_NAME)
def test_each_linear_sees_what_its_name_says(name: str) -> None:
    _, text, layers = BY_NAME[name]
    model = without_weights(name)
    adapter = adapter_for(model)
    codes = {n: adapter.fixed_modality(n) for n, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    seen = [n for n, code in codes.items() if code in (None, TEXT)]
    assert seen == [n for n in codes if n.startswith(text) and not CROSS.fullmatch(n)]
    assert set(codes.values()) - {None, TEXT}
    assert {AUDIO: "audio", VISION: "vision"}.keys() >= set(codes.values()) - {None, TEXT}
    found = adapter.decoder_layers(model)
    assert all(n.startswith(f"{layers}.") for n in found)
    ids = {token for tokens in adapter.placeholders.values() for token in tokens}
    assert bool(ids) is (adapter.token_modalities != ("text",) and name != "voxtral")  # which has none by default


def test_a_model_that_takes_no_text_is_none_of_text() -> None:
    """Nothing in the config of these says that they hear or see; their main input does."""
    recognizer = without_weights("moonshine")
    with torch.device("meta"):
        classifier = transformers.ViTForImageClassification(transformers.ViTConfig(num_hidden_layers=1))
        text = transformers.T5ForConditionalGeneration(transformers.T5Config(num_layers=1))
    with ADAPTERS.temporarily():
        recognizer.config.model_type = "a_new_one"
        with pytest.raises(InputError, match=naming("'a_new_one'", "input_values", "configure_adapter")):
            adapter_for(recognizer)
        with pytest.raises(InputError, match=naming("'vit'", "pixel_values")):
            adapter_for(classifier)
        # all tokens are text where the modules that see them are named, so no placeholder is asked for
        configure_adapter(
            "a_new_one",
            modules={
                "audio": ["model.encoder", r"re:model\.decoder\.layers\.\d+\.encoder_attn\.(k|v)_proj"],
                "text": ["model.decoder", "proj_out"],
            },
        )
        adapter = adapter_for(recognizer)
    assert adapter.modalities == ("text", "audio")
    assert adapter.token_modalities == ("text",)
    assert adapter.fixed_modality("model.decoder.layers.0.encoder_attn.k_proj") == AUDIO
    assert adapter.fixed_modality("model.decoder.layers.0.encoder_attn.q_proj") == TEXT
    assert adapter_for(text).modalities == ("text",)


def test_labels_tell_the_tokens_of_a_transcript() -> None:
    adapter = adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="whisper")))
    rows = adapter.rows(
        {"input_features": torch.zeros(2, 16, 16), "labels": torch.tensor([[7, 8, 2], [9, -100, -100]])}
    )
    assert rows is not None
    assert rows.modality.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert rows.valid.tolist() == [[True, True, True], [True, True, False]]


def adapter_of(**fields: Any) -> ModalityAdapter:
    return adapter_for(SimpleNamespace(config=SimpleNamespace(model_type="seer", **fields)))


def test_the_list_is_open() -> None:
    with MODALITIES.temporarily(), ADAPTERS.temporarily():
        with pytest.raises(InputError, match=naming("'depth'", "audio", "text", "vision")):
            configure_adapter("seer", modules={"depth": ["depth_tower"]}, placeholders={"depth": [7]})
        assert (register_modality("depth"), register_modality("depth"), register_modality("heat")) == (3, 3, 4)
        for wrong in ("Depth", "", "a b", 5):
            with pytest.raises(InputError, match=naming(repr(wrong))):
                register_modality(wrong)
        configure_adapter(
            "seer",
            modules={"depth": ["depth_tower"], "vision": ["vision_tower"]},
            placeholders={"vision": [5], "depth": [7, 6]},
        )
        adapter = adapter_of()
        assert adapter.modalities == ("text", "vision", "depth")
        assert adapter.token_rows(torch.tensor([[5, 6, 7, 8]])).modality.tolist() == [[1, 3, 3, 0]]
        assert adapter.token_rows(torch.tensor([[5, 6, 7, 8]])).counts() == {"text": 1, "vision": 1, "depth": 2}
        assert adapter.modalities_of("depth_tower.fc") == ("depth",)
        assert adapter.modalities_of("layers.0") == ("text", "vision", "depth")
        assert adapter.record().placeholders == {"vision": (5,), "depth": (6, 7)}
    assert "depth" not in MODALITIES


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"modules": {"visoin": ["eyes"]}, "placeholder_ids": [5]}, ("'visoin'", "'vision'")),
        ({"modules": ["eyes"], "placeholder_ids": [5]}, ("modules", ["eyes"])),
        ({"modules": {"audio": "ears"}, "placeholder_ids": [5]}, ("modules", "audio", "'ears'")),
        ({"vision_modules": ["eyes"], "placeholders": {"audio": [5]}}, ("'seer'", "audio", "`modules`")),
        ({"vision_modules": ["eyes"], "modules": {"vision": ["eye"]}}, ("modules", "vision_modules")),
        ({"modules": {"audio": ["ears"]}, "placeholders": {"audio": [-1]}}, ("placeholders", "audio", [-1])),
    ],
)
def test_what_cannot_be_configured_by_modality(given: dict[str, Any], names: tuple[object, ...]) -> None:
    with pytest.raises(InputError, match=naming(*names)):
        configure_adapter("seer", **given)


def test_classes_of_adapters() -> None:
    """The short forms for vision, and what was renamed."""

    class Short(ModalityAdapter):
        vision_modules = ("eyes",)
        placeholder_fields = ("picture_id",)

    class Long(Short):
        modules = {**Short.modules, "audio": ("re:ears_\\d",)}  # noqa: RUF012
        placeholder_fields = {"vision": ("picture_id",), "audio": ("sound_id",)}  # noqa: RUF012

    config = SimpleNamespace(picture_id=3, sound_id=4)
    assert (Short(config).modalities, Short(config).placeholders) == (("text", "vision"), {"vision": (3,)})
    assert (Long(config).modalities, Long(config).placeholders) == (
        ("text", "vision", "audio"),
        {"vision": (3,), "audio": (4,)},
    )
    assert [Long(config).fixed_modality(name) for name in ("ears_1.fc", "ears.fc", "eyes", "mouth")] == [
        2,
        None,
        1,
        None,
    ]
    with pytest.raises(InputError, match=naming("Old", "`picture_fields`", "`media_fields`")):
        type("Old", (ModalityAdapter,), {"picture_fields": ("pixels",)})

"""Adapters of the supported architectures, a few lines each.

Placeholders are found by token id. Each architecture scatters the features of its pictures, newlines between rows of
tiles included, exactly where those ids stand; tokens that mark a picture's begin and end are text.
"""

from __future__ import annotations

from spike_compressor.modality.base import ModalityAdapter, register_adapter


@register_adapter("llava", "llava_next")
class LlavaAdapter(ModalityAdapter):
    """LLaVA 1.5 and LLaVA-NeXT: CLIP or SigLIP tower, MLP projector, any text model."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id", "image_token_index")


@register_adapter("llava_onevision")
class LlavaOnevisionAdapter(ModalityAdapter):
    """LLaVA-OneVision: LLaVA-NeXT's tiles, and videos with placeholders of their own."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")


@register_adapter("internvl")
class InternVLAdapter(ModalityAdapter):
    """InternVL as transformers has it: a video is one picture a frame, with the pictures' placeholder."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id",)


@register_adapter("gemma3")
class Gemma3Adapter(ModalityAdapter):
    """Gemma 3: SigLIP tower, pooling projector; tokens that begin and end a picture are text."""

    vision_modules = ("model.vision_tower", "model.multi_modal_projector")
    placeholder_fields = ("image_token_id", "image_token_index")


@register_adapter("idefics3", "smolvlm")
class Idefics3Adapter(ModalityAdapter):
    """Idefics3 and SmolVLM: SigLIP-like tower, pixel-shuffle connector; `<fake_token_around_image>` is text."""

    vision_modules = ("model.vision_model", "model.connector")
    placeholder_fields = ("image_token_id",)


@register_adapter("qwen2_vl", "qwen2_5_vl")
class Qwen2VLAdapter(ModalityAdapter):
    """Qwen2-VL and Qwen2.5-VL: the patch merger is part of the tower; images and video have their own placeholders."""

    vision_modules = ("model.visual",)


@register_adapter("qwen3_vl")
class Qwen3VLAdapter(ModalityAdapter):
    """Qwen3-VL: DeepStack's mergers are part of the tower too.

    Their features are added to the outputs of the first decoder layers at the placeholders' rows alone, so rows keep
    their modality from layer to layer. The times written between the steps of a video are text.
    """

    vision_modules = ("model.visual",)

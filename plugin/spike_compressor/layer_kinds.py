"""Kinds of layers, by which figures are summed: what a layer of a transformer does, as far as its name tells."""

from __future__ import annotations

from collections.abc import Collection

#: Kinds by the last part of a decoder layer's name; another name is a kind of its own.
_DECODER = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn"), "q/k/v"),
    **dict.fromkeys(("o_proj", "out_proj"), "o"),
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj"), "gate/up"),
    "down_proj": "down",
}
#: Parts of the names of what stands between a tower and the decoder.
_PROJECTOR = ("projector", "merger", "connector")


def layer_kind(name: str, modalities: Collection[str]) -> str:
    """The kind of a layer: `q/k/v`, `o`, `gate/up`, `down`, `projector`, `vision tower`, ...

    Args:
        name: of the module.
        modalities: that its rows can have; those of one modality that is not text alone belong to its tower.
    """
    if len(modalities) == 1 and "text" not in modalities:
        if any(part in name for part in _PROJECTOR):
            return "projector"
        return f"{next(iter(modalities))} tower"
    last = name.rsplit(".", 1)[-1]
    return _DECODER.get(last, last)

"""The model that lmms-eval knows as `spike`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.protocol import ChatMessages
from tqdm import tqdm

from spike_compressor.checkpoint import open_processor
from spike_compressor.errors import InputError
from spike_compressor.integrations.answering import Turn, answers, open_spiking
from spike_compressor.integrations.harness import Harness

HARNESS = Harness("lmms-eval", "lmms-eval", "0.7.3", "0.8", "pip install 'lmms-eval>=0.7.3,<0.8'")
#: The longest answer where a task does not say, as lmms-eval's own models have it.
LONGEST_ANSWER = 1024
#: What a task may say of its answers and greedy decoding fulfils.
_GREEDY = {"do_sample": (False, None), "temperature": (0, None), "num_beams": (1, None), "n": (1, None)}


class Spike(lmms):
    """Vision-language models that spike, by their chat template, greedily.

    Args:
        pretrained: the checkpoint's directory.
        device: as torch names it.
        batch_size: questions computed together.
        dtype: None or `auto` for the checkpoint's.
        spike_backend: `fused`, `unrolled` or `rtl`.
        trust_remote_code: run code that the checkpoint brings.
        unknown: any other argument is refused.

    Raises:
        InputError: no spiking checkpoint, an argument that is not known, or a version of lmms-eval that was not tested.
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str = "",
        device: str = "cpu",
        batch_size: int | str = 1,
        dtype: str | None = None,
        spike_backend: str = "fused",
        trust_remote_code: bool = False,
        **unknown: Any,
    ) -> None:
        super().__init__()
        HARNESS.require()
        # lmms-eval hands these to every model, given or not
        refused = [name for name, value in unknown.items() if name != "max_batch_size" or value is not None]
        if refused:
            raise InputError(f"model `spike` of lmms-eval does not take {', '.join(refused)}; leave it out")
        if not pretrained:
            raise InputError("model `spike` needs a checkpoint: --model_args pretrained=DIR")
        self._model = open_spiking(
            pretrained,
            "`huggingface`",
            device=device,
            backend=spike_backend,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
        )
        self._processor = open_processor(pretrained, trust_remote_code)
        self.batch_size = int(batch_size)

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self._model.device

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answers in the order of the requests."""
        found: dict[int, str] = {}
        progress = tqdm(total=len(requests), desc="Model Responding", disable=self.rank != 0)
        for places in _batches([request.args[2] for request in requests], self.batch_size):
            chosen = [requests[place].args for place in places]
            settings = chosen[0][2]
            _require_greedy(settings)
            said = answers(
                self._model,
                self._processor,
                [self._turns(args) for args in chosen],
                int(settings.get("max_new_tokens") or LONGEST_ANSWER),
                _stop_words(settings),
            )
            found.update(zip(places, said, strict=True))
            for args, text in zip(chosen, said, strict=True):
                self.cache_hook.add_partial("generate_until", (args[0], settings), text)
            progress.update(len(places))
        progress.close()
        return [found[place] for place in range(len(requests))]

    def _turns(self, args: tuple[Any, ...]) -> list[Turn]:
        _, to_messages, _, document, task, split = args
        messages = ChatMessages(messages=to_messages(self.task_dict[task][split][document]))
        turns: list[Turn] = messages.to_hf_messages()
        for turn in turns:
            for part in turn["content"]:
                if part["type"] not in ("text", "image"):
                    raise InputError(f"task {task}: model `spike` takes text and pictures, no {part['type']}")
        return turns

    def loglikelihood(self, requests: Sequence[Any]) -> Any:
        raise InputError("model `spike` of lmms-eval answers questions (generate_until); it scores no given texts")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> Any:
        raise InputError("model `spike` of lmms-eval answers in one round; leave out tasks of several")


def _batches(settings: Sequence[dict[str, Any]], size: int) -> list[list[int]]:
    """Places of requests that may be answered together: neighbours among those of equal settings."""
    alike: dict[str, list[int]] = {}
    for place, one in enumerate(settings):
        alike.setdefault(repr(sorted(one.items())), []).append(place)
    return [places[first : first + size] for places in alike.values() for first in range(0, len(places), size)]


def _require_greedy(settings: dict[str, Any]) -> None:
    for name, allowed in _GREEDY.items():
        if settings.get(name) not in allowed:
            raise InputError(
                f"model `spike` answers greedily, and the task wants {name}={settings[name]}; pass "
                "--gen_kwargs do_sample=False,temperature=0,num_beams=1"
            )


def _stop_words(settings: dict[str, Any]) -> list[str]:
    words = settings.get("until") or []
    return [words] if isinstance(words, str) else list(words)

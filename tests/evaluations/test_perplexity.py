"""Perplexity: which tokens are scored, by which window, and what comes out."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers import tiny_models
from helpers.messages import naming
from spike_compressor.errors import InputError
from spike_compressor.evaluations import Perplexity, perplexity
from torch import Tensor, nn

VOCABULARY = 8


class ByPosition(nn.Module):
    """Gives the token that comes next a likelihood that depends on the place in the window alone: 2^-(place + 1)."""

    def __init__(self, text: Tensor) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.text = text
        self.calls: list[list[int]] = []

    def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
        B, S = input_ids.shape
        self.calls.append([B, S])
        share = 0.5 ** (torch.arange(S) + 1.0)
        likelihood = ((1 - share) / (VOCABULARY - 1)).view(1, S, 1).repeat(B, 1, VOCABULARY)
        following = torch.cat([input_ids[:, 1:], input_ids[:, :1]], dim=1)
        likelihood.scatter_(2, following.unsqueeze(2), share.view(1, S, 1).expand(B, S, 1))
        return SimpleNamespace(logits=likelihood.log())


def measure(length: int, **settings: Any) -> tuple[list[float], tuple[int, ...]]:
    """Halvings of likelihood that each chunk adds up to, and tokens of each chunk."""
    text = torch.arange(length) % VOCABULARY
    found = perplexity(ByPosition(text), text, **settings)
    return [round(value / math.log(2), 4) for value in found.nll], found.tokens


def test_windows_side_by_side_score_all_but_their_first_token() -> None:
    # 4 + 4 + 2 tokens; the j-th prediction of a window costs j halvings
    assert measure(10, context=4) == ([1 + 2 + 3, 1 + 2 + 3, 1], (3, 3, 1))


def test_overlapping_windows_score_every_token_once() -> None:
    # windows 0-4, 2-6, 4-8, 6-10: after the first one only the last two tokens of each are new
    assert measure(10, context=4, stride=2) == ([1 + 2 + 3, 2 + 3, 2 + 3, 2 + 3], (3, 2, 2, 2))
    # the last window, 6-9, has one new token, the third of it
    assert measure(9, context=4, stride=2) == ([1 + 2 + 3, 2 + 3, 2 + 3, 2], (3, 2, 2, 1))


@pytest.mark.parametrize("length", range(2, 14))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_no_token_is_left_out_or_scored_twice(length: int, stride: int) -> None:
    assert sum(measure(length, context=4, stride=stride)[1]) == length - 1


def test_a_last_window_of_one_token_has_nothing_to_score() -> None:
    assert measure(9, context=4) == ([6, 6], (3, 3))


def test_batches_do_not_change_what_is_scored() -> None:
    text = torch.arange(43) % VOCABULARY
    one = ByPosition(text)
    several = ByPosition(text)
    assert perplexity(one, text, 8, 4) == perplexity(several, text, 8, 4, batch=4)
    assert len(several.calls) < len(one.calls)


def test_a_real_models_perplexity_is_that_of_its_own_loss() -> None:
    model = tiny_models.llama().eval()
    text = torch.randint(7, 64, (65,), generator=torch.Generator().manual_seed(0))
    loss = model(input_ids=text[None], labels=text[None]).loss.item()
    found = perplexity(model, text, context=65)
    assert found.scored == 64
    assert math.isclose(found.perplexity, math.exp(loss), rel_tol=1e-5)
    strided = perplexity(model, text, context=16, stride=8, batch=3)
    assert torch.allclose(
        torch.tensor(strided.nll), torch.tensor(perplexity(model, text, context=16, stride=8).nll), rtol=1e-5
    )


def test_the_model_is_left_in_the_mode_that_it_was_in() -> None:
    text = torch.arange(6)
    model = ByPosition(text).train()
    seen = []
    perplexity(model, text, context=4, progress=lambda done, total: seen.append((done, total, model.training)))
    assert model.training
    assert seen == [(1, 2, False), (2, 2, False)]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (torch.arange(1), {}),
        (torch.arange(8).view(2, 4), {}),
        (torch.arange(8), {"context": 1}),
        (torch.arange(8), {"context": 4, "stride": 5}),
        (torch.arange(8), {"context": 4, "stride": 0}),
        (torch.arange(8), {"batch": 0}),
    ],
)
def test_bad_settings_are_refused(text: Tensor, settings: dict[str, int]) -> None:
    with pytest.raises(InputError, match="perplexity"):
        perplexity(ByPosition(text), text, **settings)


def test_nan_is_an_error_that_says_where() -> None:
    class Broken(ByPosition):
        def forward(self, input_ids: Tensor, use_cache: bool) -> Any:
            found = super().forward(input_ids, use_cache)
            if int(input_ids[0, 0]) == 4:
                found.logits[:] = float("nan")
            return found

    text = torch.arange(8)
    with pytest.raises(InputError, match=naming("NaN", "4 .. 7")):
        perplexity(Broken(text), text, context=4)


def test_parts_of_a_text_are_joined_and_survive_json() -> None:
    text = torch.arange(10) % VOCABULARY
    part = perplexity(ByPosition(text), text, context=4)
    whole = Perplexity.joined([part, part])
    assert whole.scored == 2 * part.scored
    assert math.isclose(whole.perplexity, part.perplexity)
    assert Perplexity.from_dict(part.to_dict()) == part
    with pytest.raises(InputError, match=naming("context", "stride")):
        Perplexity.joined([part, perplexity(ByPosition(text), text, context=5)])

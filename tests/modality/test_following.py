"""The origin of rows, followed through PyTorch's operations: the rows say themselves which they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from spike_compressor.modality import TokenRows, rows_of, tokens_here
from spike_compressor.modality.frames import FRAME, begin_pass, end_pass
from spike_compressor.modality.scopes import Scopes, holders
from torch import Tensor, nn

B, S, K = 2, 6, 8


def tokens(batch: int = B, length: int = S) -> TokenRows:
    """Every other token is vision; one of them is padding."""
    modality = (torch.arange(batch * length) % 2).view(batch, length).to(torch.uint8)
    valid = torch.ones(batch, length, dtype=torch.bool)
    valid[0, -1] = False
    return TokenRows(modality, valid)


def rows(batch: int = B, length: int = S) -> Tensor:
    """[batch, length, K], where every feature of a row is its number."""
    return torch.arange(float(batch * length)).view(batch, length, 1).repeat(1, 1, K)


def followed(function: Callable[[Tensor], Tensor], x: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The result of a function of rows, and which tokens its rows are said to be."""
    x = rows() if x is None else x
    owner = nn.Identity()
    begin_pass(owner, tokens(*x.shape[:2]), follow=True)
    try:
        result = function(x)
        found = rows_of(result)
        if found is not None and found.index is None:  # all of them, in their order
            return result, torch.arange(found.rows.modality.numel())
        return result, None if found is None else found.index
    finally:
        end_pass(owner)


#: Learned embeddings of positions, looked up as some models do.
BUFFER = torch.zeros(40, K)
POSITIONS = nn.Parameter(torch.zeros(32, K), requires_grad=False)
PERMUTATION = torch.tensor([7, 3, 3, 0, 11, 5])
KEPT = torch.tensor([[4, 0, 2], [1, 5, 3]])
MASK = torch.tensor([[True, False, True, True, False, False], [False, True, False, False, True, True]])


def heads(x: Tensor) -> Tensor:
    """Split into heads, moved before the tokens, and back."""
    return x.view(B, S, 2, K // 2).transpose(1, 2).contiguous().transpose(1, 2).reshape(B, S, K)


def batched_heads(x: Tensor) -> Tensor:
    """Heads as a batch for `bmm`, as older attention does it."""
    q = x.view(B, S, 2, K // 2).transpose(1, 2).reshape(B * 2, S, K // 2)
    same = torch.bmm(torch.eye(S).expand(B * 2, S, S) * (q[..., :1] * 0 + 1), q)
    return same.view(B, 2, S, K // 2).transpose(1, 2).reshape(B, S, K)


def sorted_by_expert(x: Tensor) -> Tensor:
    """Tokens twice each, sorted by expert, cut into the experts' shares and joined: DeepSeek's remote code."""
    flat = x.view(-1, K)
    experts = torch.tensor([3, 1, 0, 2, 1, 3, 0, 0, 2, 1, 3, 2] * 2)
    order = experts.argsort(stable=True)
    taken = flat[order // 2]
    return torch.cat([share * 1.0 for share in taken.split([6, 6, 6, 6])], dim=0)


def put_back(x: Tensor) -> Tensor:
    """The same, and every row at its place in a new tensor, by assignment."""
    order = torch.randperm(B * S, generator=torch.Generator().manual_seed(0))
    taken = x.view(-1, K)[order]
    result = torch.empty_like(taken)
    result[order] = taken
    return result


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "elementwise": lambda x: torch.nn.functional.silu(x) * 0 + x,
    "flat": lambda x: x.view(-1, K),
    "flat and back": lambda x: x.reshape(-1, K).reshape(B, S, K),
    "time first": lambda x: x.transpose(0, 1),
    "chosen of all": lambda x: x.view(-1, K)[PERMUTATION],
    "chosen by a list": lambda x: x.view(-1, K)[[5, 1, 1]],
    "chosen by two": lambda x: x[torch.tensor([0, 1, 1]), torch.tensor([5, 0, 2])],
    "chosen by a mask": lambda x: x[MASK],
    "columns by a mask": lambda x: x[:, MASK[0]],
    "columns chosen": lambda x: x[:, torch.tensor([5, 2, 2])],
    "last positions": lambda x: x[:, -2:, :],
    "one position": lambda x: x[:, -1],
    "one position kept": lambda x: x[:, [-1]],
    "every other": lambda x: x[..., ::2, :],
    "features cut": lambda x: x[..., : K // 2],
    "features chosen": lambda x: x[..., torch.tensor([0, 3])],
    "gathered": lambda x: x.gather(1, KEPT.unsqueeze(-1).expand(-1, -1, K)),
    "taken along": lambda x: torch.take_along_dim(x, KEPT.unsqueeze(-1), 1),
    "index_select": lambda x: x.index_select(1, torch.tensor([4, 1])),
    "index_select flat": lambda x: torch.index_select(x.flatten(0, 1), 0, PERMUTATION),
    "flipped": lambda x: x.flip(1),
    "rolled": lambda x: torch.roll(x, 2, 1),
    "repeated": lambda x: x.repeat(3, 1, 1),
    "each repeated": lambda x: x.view(-1, K).repeat_interleave(2, dim=0),
    "beams": lambda x: x.repeat_interleave(3, dim=0),
    "expanded": lambda x: x.unsqueeze(0).expand(4, -1, -1, -1),
    "narrowed": lambda x: x.narrow(1, 2, 3),
    "first of a split": lambda x: x.split([2, 4], dim=1)[1],
    "chunk of features": lambda x: x.chunk(2, dim=-1)[1],
    "a sample": lambda x: x.unbind(0)[1],
    "joined": lambda x: torch.cat([x[:, 3:], x[:, :3]], dim=1),
    "joined features": lambda x: torch.cat([x, x * 1], dim=-1),
    "heads": heads,
    "batched heads": batched_heads,
    "sorted by expert": sorted_by_expert,
    "put back": put_back,
    "linear": lambda x: torch.nn.functional.linear(x[:, 2:], torch.eye(K)),
    "attention": lambda x: (
        torch.nn.functional.scaled_dot_product_attention(x[:, None, 1:4], x[:, None], x[:, None])[:, 0] * 0 + x[:, 1:4]
    ),
    "one expert's": lambda x: x.view(-1, K)[torch.tensor([3])],
    "positions looked up": lambda x: x + POSITIONS[torch.arange(S).expand(B, S)],
    "positions selected": lambda x: x + POSITIONS.index_select(0, torch.arange(3, S + 3)),
    "nobody's rows expanded": lambda x: (
        x.view(-1, K)[torch.tensor([], dtype=torch.int64)].unsqueeze(0).expand(3, -1, -1)
    ),
    "a table of positions": lambda x: x.detach().clone() + BUFFER.index_select(0, torch.arange(S)).expand(B, S, K),
    "nobody's": lambda x: x.view(-1, K)[torch.tensor([], dtype=torch.int64)],
    "nobody's, expanded": lambda x: x.view(-1, K)[torch.tensor([], dtype=torch.int64)].expand(3, -1, -1),
    "masked": lambda x: x[:, 1:] * torch.ones(B, S)[:, 1:, None],  # a mask's padding, as state-space models do it
    "masked at once": lambda x: x * torch.ones(B, S)[:, :, None],
    "heads as rows": lambda x: x.view(B, S, 2, K // 2).reshape(-1, K // 2),
    "heads as rows and back": lambda x: x.view(B, S, 2, K // 2).reshape(-1, K // 2).mul(1).reshape(B, S, K),
    "chosen heads as rows": lambda x: x.view(-1, K)[PERMUTATION].view(-1, 2, K // 2).reshape(-1, K // 2).view(3, 2, K),
    "weighted": lambda x: x.view(-1, K)[PERMUTATION] * torch.ones(B * S, 2)[PERMUTATION, 1, None],  # by a router
}


@pytest.mark.parametrize("name", MOVES)
def test_rows_say_which_they_are(name: str) -> None:
    result, index = followed(MOVES[name])
    assert index is not None
    assert index.tolist() == result[..., 0].reshape(-1).long().tolist()


def test_the_same_operation_with_other_arguments() -> None:
    """What is kept of an operation is that of its arguments, however alike the shapes are."""
    functions: list[Callable[[Tensor], Tensor]] = [
        *(lambda x, n=n: x[:, n : n + 2] for n in range(4)),
        *(lambda x, n=n: x[:, [n, 5 - n]] for n in range(3)),
        *(lambda x, n=n: x[:, torch.tensor([n, 0])] for n in range(3)),
        *(lambda x, n=n: x[n] for n in range(B)),
        *(lambda x, n=n: x.narrow(1, n, 2) for n in range(3)),
        *(lambda x, n=n: torch.roll(x, n, 1) for n in range(3)),
        *(lambda x, n=n: torch.roll(x, shifts=n, dims=1) for n in range(3)),
        *(lambda x, dim=dim: x.flip(dim) for dim in (0, 1)),
        *(lambda x, last=last: x.permute(last) for last in ((1, 0, 2), (0, 1, 2))),
        lambda x: x[:, 0::2],
        lambda x: x[:, 1::2],
        lambda x: x[:, torch.arange(6) % 2 == 0],
        lambda x: x[:, torch.arange(6) % 2 == 1],
    ]

    def all_of_them(x: Tensor) -> Tensor:
        for _ in range(2):
            for function in functions:
                result = function(x)
                found = rows_of(result)
                assert found is not None
                index = torch.arange(B * S) if found.index is None else found.index
                assert index.tolist() == result[..., 0].reshape(-1).long().tolist()
        return x

    followed(lambda x: all_of_them(x + 0))


def test_operations_one_after_the_other() -> None:
    """Random chains of operations that keep [*, K]."""
    generator = torch.Generator().manual_seed(0)
    steps: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.reshape(-1, K),
        lambda x: x.reshape(-1, K)[torch.randint(0, x[..., 0].numel(), (12,), generator=generator)],
        lambda x: x.reshape(2, -1, K),
        lambda x: x.flip(0),
        lambda x: x + 0,
        lambda x: x.transpose(0, 1) if x.dim() == 3 else x,
        lambda x: torch.cat([x, x[:1]], 0)[: x.shape[0]],
        lambda x: x.reshape(-1, 2, K)[:, torch.tensor([1, 0])],
    ]
    for _ in range(60):
        chosen = [steps[int(i)] for i in torch.randint(0, len(steps), (6,), generator=generator)]

        def chain(x: Tensor, chosen: list[Callable[[Tensor], Tensor]] = chosen) -> Tensor:
            for step in chosen:
                x = step(x)
            return x

        result, index = followed(chain)
        assert index is not None
        assert index.tolist() == result[..., 0].reshape(-1).long().tolist()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.einsum("bsk,st->btk", x, torch.eye(S)),
        lambda x: torch.einsum("rk,rt->tk", x.view(-1, K), torch.eye(B * S)),
        lambda x: x.sort(dim=1).values,
        lambda x: x.gather(1, torch.randint(0, S, (B, S, K), generator=torch.Generator().manual_seed(0))),
        lambda x: x.view(-1, K).T.contiguous().view(-1, K)[: B * S],
        lambda x: torch.cat([torch.zeros(B, 1, K), x[:, 1:]], dim=1),
        lambda x: x.view(B, S // 2, 2 * K).view(-1, 2 * K),
        lambda x: torch.randn(B * S, B * S) @ x.view(-1, K),
    ],
    ids=["einsum", "dispatch", "sort", "mixed features", "transposed", "other rows", "merged", "mixed"],
)
def test_no_guess_after_other_operations(function: Callable[[Tensor], Tensor]) -> None:
    """As many rows as there are tokens, and yet not these."""
    result, index = followed(function)
    if result.shape[0] != B * S or not torch.equal(result[..., 0].reshape(-1), torch.arange(float(B * S))):
        assert index is None or index.tolist() == result[..., 0].reshape(-1).long().tolist()


@pytest.fixture(scope="module")
def foreign() -> Iterator[Callable[[Tensor], Tensor]]:
    """An operation of another library that moves rows."""
    with torch.library._scoped_library("spike_test_rows", "DEF") as library:
        library.define("permute_rows(Tensor x) -> Tensor")
        library.impl("permute_rows", lambda x: x.flip(0), "CPU")
        yield lambda x: torch.ops.spike_test_rows.permute_rows(x.view(-1, K))


def test_a_permuting_operation_of_another_library_says_nothing(foreign: Callable[[Tensor], Tensor]) -> None:
    assert followed(foreign)[1] is None


class Seen(nn.Module):
    """A layer that notes which tokens it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.index: list[int] | None = None
        self.shape: list[int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        found = rows_of(x)
        self.index = None if found is None or found.index is None else found.index.tolist()
        here = tokens_here(x.shape[0]) if x.dim() == 3 else None
        self.shape = None if here is None else list(here.modality.shape)
        return x


class Opaque(nn.Module):
    """Gets chosen rows, and does to them what nobody can follow before its layer sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Seen()

    def forward(self, *, hidden_states: Tensor) -> Tensor:
        copied = torch.empty(hidden_states.shape)
        copied.numpy()[:] = hidden_states.numpy()
        return self.layer(copied)


class Choosing(nn.Module):
    """A block that gives an inner module some of its tokens."""

    def __init__(self, choose: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.choose = Opaque(), choose

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(hidden_states=self.choose(x))


@pytest.mark.parametrize("flat", [True, False])
def test_a_module_called_with_chosen_rows_is_their_place(flat: bool) -> None:
    """What happens inside of it need not be followed: its shape says which rows they are."""
    block = Choosing(lambda x: x.view(-1, K)[PERMUTATION] if flat else x[:, torch.tensor([4, 2, 5])])
    model = nn.Sequential(block)
    scopes = Scopes(holders(model, ["0.inner.layer"]).values())
    owner = nn.Identity()
    begin_pass(owner, tokens(), follow=True)
    scopes.open()
    try:
        block(rows())
        seen = block.inner.layer
        assert seen.index == (PERMUTATION.tolist() if flat else [4, 2, 5, 10, 8, 11])
        assert seen.shape == (None if flat else [2, 3])
        outside = tokens_here(B)
        assert outside is not None
        assert outside.modality.shape == (B, S)
    finally:
        scopes.close()
        end_pass(owner)
    assert not block._forward_pre_hooks
    assert not block.inner._forward_hooks


def test_a_module_called_with_unknown_rows_knows_nothing(foreign: Callable[[Tensor], Tensor]) -> None:
    """Not even where they are as many as the tokens."""
    block = Choosing(foreign)
    scopes = Scopes(holders(nn.Sequential(block), ["0.inner.layer"]).values())
    owner = nn.Identity()
    begin_pass(owner, tokens(), follow=True)
    scopes.open()
    try:
        block(rows())
        assert block.inner.layer.index is None
    finally:
        scopes.close()
        end_pass(owner)


def test_an_interrupted_pass_leaves_nothing() -> None:
    owner = nn.Identity()
    begin_pass(owner, tokens(), follow=True)  # and no hook after it, as with KeyboardInterrupt
    begin_pass(owner, tokens(), follow=False)
    end_pass(owner)
    assert FRAME.get() is None
    assert not torch.overrides._get_current_function_mode_stack()
    assert rows_of(rows()) is None

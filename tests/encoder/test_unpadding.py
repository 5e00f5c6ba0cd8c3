"""Leaving the padding out changes what is computed, never what comes out.

Dimensions: B texts, T tokens of the longest, N real tokens, H hidden size, A heads.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from minbert.encoder import bert
from minbert.encoder.bert import BertModel
from minbert.encoder.selection import Select, cls_and_tokens_at, cls_token, every_token
from minbert.encoder.unpadding import (
    Layout,
    PaddedLayout,
    UnpaddedLayout,
    UnpaddedParts,
    choose_layout,
)
from tests.helpers import TINY, make_encoder

A, H = 2, 8
MASKS = {
    "ragged": torch.arange(6) < torch.tensor([6, 3, 1])[:, None],
    "padding in all": torch.arange(6) < torch.tensor([4, 2, 5])[:, None],
    "a hole": torch.tensor([[1, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 1]]).bool(),
}
each_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())


def padded(mask: Tensor, heads: int = A) -> PaddedLayout:
    return PaddedLayout(mask[:, None, None, :], heads)


def chosen(mask: Tensor, heads: int = A) -> UnpaddedLayout:
    """As on a GPU: all tokens in another order, and a position of padding where there is one."""
    flat = mask.flatten()
    tokens, padding = (rows.nonzero().squeeze(1) for rows in (flat, ~flat))
    return UnpaddedLayout(mask[:, None, None, :], heads, torch.cat([tokens.flip(0), padding[-1:]]))


each_layout = pytest.mark.parametrize("make", [UnpaddedParts.of, chosen, padded])
unpadded = pytest.mark.parametrize("make", [UnpaddedParts.of, chosen])


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def small_encoder(attention: str = "reference") -> BertModel:
    shape = {"hidden_size": H, "num_attention_heads": A, "num_hidden_layers": 3}
    return make_encoder(TINY, attention, **shape).double().eval()


@each_mask
@each_layout
def test_tokens_come_back_to_their_places(
    mask: Tensor, make: Callable[[Tensor, int], Layout]
) -> None:
    layout, x = make(mask, A), drawn(*mask.shape, H)
    rows, positions = layout.flatten(x), mask.flatten().nonzero().squeeze(1)
    assert torch.equal(layout.unflatten(rows)[mask], x[mask])
    assert torch.equal(layout.cls_rows(rows), x[:, 0])
    assert torch.equal(rows[layout.row_numbers(positions)], x[mask])
    heads = layout.split_heads(rows)
    assert heads.shape == (len(mask), A, mask.size(1), H // A)
    assert torch.equal(heads.transpose(1, 2).flatten(2)[mask], x[mask])
    assert torch.equal(layout.join_heads(heads), rows)


@each_mask
@unpadded
def test_padding_is_left_out_and_comes_back_as_nought(
    mask: Tensor, make: Callable[[Tensor, int], UnpaddedLayout]
) -> None:
    layout, x = make(mask, A), drawn(*mask.shape, H)
    rows, left = layout.flatten(x), ~mask
    left.flatten()[layout.positions] = False
    assert len(rows) == mask.sum() + (make is chosen)
    assert not layout.unflatten(rows)[left].any()
    assert not layout.split_heads(rows).transpose(1, 2)[left].any()


@each_mask
@unpadded
def test_gradients_are_those_of_finite_differences(
    mask: Tensor, make: Callable[[Tensor, int], UnpaddedLayout]
) -> None:
    layout, count = make(mask, A), len(mask)
    tokens = len(layout.positions)
    positions = mask.flatten().nonzero().squeeze(1)[1::2].contiguous()
    for move, x in (
        (layout.flatten, drawn(*mask.shape, H)),
        (layout.unflatten, drawn(tokens, H)),
        (layout.cls_rows, drawn(tokens, H)),
        (cls_and_tokens_at(positions)(layout).take, drawn(tokens, H)),
        (layout.split_heads, drawn(tokens, H)),
        (layout.join_heads, drawn(count, A, mask.size(1), H // A)),
    ):
        assert torch.autograd.gradcheck(move, x)
        assert torch.autograd.gradgradcheck(move, x)


@each_mask
@pytest.mark.parametrize("select", [every_token, cls_token])
@pytest.mark.parametrize("attention", ["reference", "fused"])
@unpadded
def test_encoder_says_the_same_without_padding(
    mask: Tensor,
    select: Select,
    attention: str,
    make: Callable[[Tensor, int], UnpaddedLayout],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values, and gradients in every weight and word embedding."""
    encoder = small_encoder(attention)
    embeddings, ids = drawn(*mask.shape, H), torch.randint(2, mask.shape)
    seen: list[Layout] = []

    def outcome(make: Callable[[Tensor, int], Layout]) -> list[Tensor]:
        def one(mask: Tensor, heads: int, *_: object) -> Layout:
            seen.append(make(mask.bool(), heads))
            return seen[-1]

        monkeypatch.setattr(bert, "choose_layout", one)
        found = encoder.encode(embeddings, mask.long(), ids, select=select)
        hidden, pooled = found["last_hidden_state"], found["pooler_output"]
        values = [hidden[mask] if select is every_token else hidden, pooled]
        weights = [weight for weight in encoder.parameters() if weight is not words]
        loss = sum(value.square().sum() for value in values)
        assert isinstance(loss, Tensor)
        return [*values, *torch.autograd.grad(loss, [embeddings, *weights])]

    words = encoder.word_embeddings.weight
    for found, expected in zip(outcome(make), outcome(padded), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert [isinstance(layout, UnpaddedLayout) for layout in seen] == [True, False]


def test_what_stands_at_padding_has_no_say() -> None:
    """Not even where it is no number."""
    encoder, mask = small_encoder(), MASKS["ragged"]
    embeddings = drawn(*mask.shape, H).detach()
    clean = encoder.encode(embeddings, mask.long())
    embeddings[~mask] = torch.nan
    spoilt = encoder.encode(embeddings, mask.long())
    for name, value in clean.items():
        assert torch.equal(spoilt[name], value)


def test_padding_costs_attention_alone() -> None:
    """Twice as wide rows add what attention's two products do there, nothing else."""
    encoder, mask = small_encoder(), MASKS["ragged"]

    def flops(mask: Tensor) -> int:
        with FlopCounterMode(display=False) as counter:
            encoder.encode(torch.randn(*mask.shape, H, dtype=torch.float64), mask.long())
        return counter.get_total_flops()

    wide = torch.nn.functional.pad(mask, (0, mask.size(1)))
    count, length, layers = *mask.shape, len(encoder.layers)
    products = 2 * 2 * count * H * layers  # QKᵀ and AV, for every pair of tokens
    assert flops(wide) - flops(mask) == products * ((2 * length) ** 2 - length**2)


@pytest.mark.parametrize("shape", [(1, 6), (3, 5), (3, 7), (6, 3)], ids=str)
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    encoder, embeddings = small_encoder(), torch.randn(3, 6, H, dtype=torch.float64)
    with pytest.raises(ValueError, match="attention_mask"):
        encoder.encode(embeddings, torch.ones(shape).long())


def test_padding_is_left_out_where_that_pays() -> None:
    ragged = MASKS["ragged"].long()
    assert isinstance(choose_layout(ragged, A), UnpaddedParts)
    assert isinstance(choose_layout(ragged, A, int(ragged.sum())), UnpaddedParts)
    assert isinstance(choose_layout(torch.ones_like(ragged), A), PaddedLayout)
    # a row that does not begin with a token has no [CLS] to point to
    assert isinstance(choose_layout(ragged.flip(1), A), PaddedLayout)
    one = torch.ones(10, 10)
    one[-1, -1] = 0
    assert isinstance(choose_layout(one, A), PaddedLayout)
    one[-1, 5:] = 0
    assert isinstance(choose_layout(one, A), UnpaddedParts)


def test_a_gpu_computes_the_positions_that_it_is_told() -> None:
    ragged = MASKS["ragged"]
    layout = choose_layout(ragged.long(), A, int(ragged.sum()), chosen(ragged).positions)
    assert type(layout) is UnpaddedLayout
    assert torch.equal(layout.positions, chosen(ragged).positions)

"""A selection decides how much the last layer computes; its vectors stay those of all tokens.

Dimensions: B texts, T tokens of the longest, M chosen tokens, S tokens selected, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from minbert.encoder.bert import BertModel
from minbert.encoder.selection import Select, cls_and_tokens_at, cls_token, every_token
from minbert.encoder.unpadding import Layout, PaddedLayout, UnpaddedLayout, UnpaddedParts
from tests.helpers import TINY, make_encoder

A, H, LENGTHS = 2, 8, (6, 3, 1)
MASK = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
POSITIONS = torch.tensor([7, 0, 4, 8])  # in any order, a [CLS] among them
ANY_ORDER = torch.cat([torch.tensor([17]), MASK.flatten().nonzero().squeeze(1).flip(0)])
LAYOUTS = {
    "padded": lambda: PaddedLayout(MASK[:, None, None, :], A),
    "unpadded": lambda: UnpaddedParts.of(MASK, A),
    "in any order": lambda: UnpaddedLayout(MASK[:, None, None, :], A, ANY_ORDER),
}
each_layout = pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS.keys())


@each_layout
def test_what_is_taken(make: Callable[[], Layout]) -> None:
    layout, texts = make(), torch.randn(*MASK.shape, H)
    hidden, chosen = layout.flatten(texts), texts.flatten(0, 1)[POSITIONS]
    expected: dict[Select, Tensor] = {
        every_token: hidden,
        cls_token: texts[:, 0],
        cls_and_tokens_at(POSITIONS): torch.cat([texts[:, 0], chosen]),
    }
    for select, tokens in expected.items():
        assert torch.equal(select(layout).take(hidden), tokens)
        assert torch.equal(select(layout).cls(tokens), texts[:, 0])
    last = [select(layout).last_hidden_state(tokens) for select, tokens in expected.items()]
    assert torch.equal(last[0][MASK], texts[MASK])
    assert torch.equal(last[1], texts[:, :1])
    assert torch.equal(last[2], chosen)


@each_layout
@pytest.mark.parametrize("select", [every_token, cls_token, cls_and_tokens_at(POSITIONS)])
def test_split_heads_join_to_what_is_taken(make: Callable[[], Layout], select: Select) -> None:
    selection, hidden = select(make()), make().flatten(torch.randn(*MASK.shape, H))
    heads = selection.split_heads(selection.querying(hidden))
    assert heads.shape == (3, A, 1 if select is cls_token else 6, H // A)
    assert torch.equal(selection.join_heads(heads), selection.take(hidden))


def test_what_is_not_selected_is_not_computed() -> None:
    """Products of the last layer: two of (H, H) for keys and values, the others by selection."""
    width, tokens, texts, chosen = TINY.intermediate_size, sum(LENGTHS), 3, 3 + len(POSITIONS)
    shape = {"hidden_size": H, "num_attention_heads": A, "num_hidden_layers": 1}
    encoder: BertModel = make_encoder(TINY, "reference", **shape).eval()
    pooler, keys_and_values = texts * H * H, 2 * tokens * H * H
    after = H * H + 2 * H * width  # one token's, from attention's output on
    pairs = 2 * H * texts * 6  # every query's scores and mean over 6 keys of its text

    def expected(queries: int, computed: int, asked: int) -> int:
        products = keys_and_values + queries * H * H + asked * pairs + computed * after + pooler
        return 2 * products

    for select, flops in (
        (every_token, expected(tokens, tokens, asked=6)),
        (cls_token, expected(texts, texts, asked=1)),
        (cls_and_tokens_at(POSITIONS), expected(tokens, chosen, asked=6)),
    ):
        with FlopCounterMode(display=False) as counter:
            encoder.encode(torch.randn(*MASK.shape, H), MASK.long(), select=select)
        assert counter.get_total_flops() == flops

"""Exercises of the encoder's steps: attention, multi-head attention, the layer, the embeddings."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from minbert.classroom.exercises.base import (
    Exercise,
    Uneven,
    gradient,
    mask_of,
    normal,
    weights_of,
    with_weights,
)
from minbert.classroom.judge import Tensors
from minbert.encoder import attention
from minbert.encoder.bert import BertLayer, BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.selection import TokenSelection, cls_token, every_token
from minbert.encoder.unpadding import PaddedLayout

_LENGTHS, _HEADS, _SIZE = (5, 3), 2, 8
_SHAPE = EncoderConfig(
    vocab_size=12,
    hidden_size=_SIZE,
    num_hidden_layers=1,
    num_attention_heads=_HEADS,
    intermediate_size=12,
    max_position_embeddings=9,
)


def _attention_inputs(source: torch.Generator) -> Tensors:
    drawn = (normal(source, len(_LENGTHS), 3, max(_LENGTHS), 4) for _ in range(3))
    named = dict(zip(("query", "key", "value"), drawn, strict=True))
    return {**named, "key_mask": mask_of(_LENGTHS).bool()[:, None, None, :]}


def _weights(inputs: Tensors) -> Tensors:
    query, key, mask = (inputs[name] for name in ("query", "key", "key_mask"))
    return {"weights": attention.attention_weights(query, key, mask)}


def _context(inputs: Tensors) -> Tensors:
    query, key, value = (
        inputs[name].clone().requires_grad_() for name in ("query", "key", "value")
    )
    context = attention.reference_attention(query, key, value, inputs["key_mask"], 0.0)
    slopes = gradient(context, query, key, value)
    named = zip(("query", "key", "value"), slopes, strict=True)
    return {"context": context, **{f"gradient of {name}": slope for name, slope in named}}


def _dropped(inputs: Tensors) -> Tensors:
    """How much the weights that dropout leaves have grown, seen through values 1, 0, 0, ..."""
    query, key, mask = (inputs[name] for name in ("query", "key", "key_mask"))
    every = torch.eye(key.size(-2), dtype=key.dtype).expand(*key.shape[:-1], -1)
    whole = attention.reference_attention(query, key, every, mask, 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left = attention.reference_attention(query, key, every, mask, 0.5)
    kept = (left != 0) & (whole != 0)
    return {"growth of the weights that dropout leaves": (left[kept] / whole[kept]).mean()}


def _multihead_inputs(source: torch.Generator) -> Tensors:
    rows = len(_LENGTHS) * max(_LENGTHS)
    module = attention.SelfAttention(_SIZE, 0.0)
    return {"hidden": normal(source, rows, _SIZE), **weights_of(module, source)}


def _selection(select: Any = every_token) -> TokenSelection:
    return select(PaddedLayout(mask_of(_LENGTHS).bool()[:, None, None, :], _HEADS))


def _mixture(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Stand for attention: another function of all that it is given."""
    real = mask.transpose(-1, -2).to(value.dtype)  # (B, 1, T, 1)
    others = (real * (3 * value - 2 * key)).mean(dim=-2, keepdim=True)
    return query * (1 + dropout) + others + others.roll(1, dims=1)


def _multihead(inputs: Tensors) -> Tensors:
    module = with_weights(attention.SelfAttention(_SIZE, 0.25), inputs)
    hidden, every, cls = inputs["hidden"], _selection(), _selection(cls_token)
    training = module.train()(hidden, every, _mixture)
    scoring = module.eval()(hidden, every, _mixture)
    alone = module(hidden, cls, _mixture)
    return {"hidden": scoring, "hidden in training": training, "hidden of [CLS] alone": alone}


class _Attended(nn.Module):
    """Stands for a layer's attention."""

    def forward(self, hidden: Tensor, selection: TokenSelection, _attend: Any) -> Tensor:
        """Tokens (N, H) to the selected ones (S, H)."""
        return selection.take(hidden.flip(-1))


def _layer(dropout: nn.Module) -> BertLayer:
    layer = BertLayer(_SHAPE)
    layer.attention = _Attended()  # type: ignore[assignment]
    layer.dropout = dropout  # type: ignore[assignment]
    return layer


def _layer_inputs(source: torch.Generator) -> Tensors:
    rows = len(_LENGTHS) * max(_LENGTHS)
    return {"hidden": normal(source, rows, _SIZE), **weights_of(_layer(nn.Identity()), source)}


def _layers(inputs: Tensors) -> Tensors:
    found = {}
    for words, dropout in {"": nn.Identity(), " under dropout": Uneven()}.items():
        layer = with_weights(_layer(dropout), inputs)
        found[f"hidden{words}"] = layer(inputs["hidden"], _selection(), _mixture)
    layer = with_weights(_layer(nn.Identity()), inputs)
    alone = layer(inputs["hidden"], _selection(cls_token), _mixture)
    return {**found, "hidden of [CLS] alone": alone}


def _embedding_inputs(source: torch.Generator) -> Tensors:
    types = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]])
    embeddings = normal(source, *types.shape, _SIZE)
    return {"embeddings": embeddings, "types": types, **weights_of(BertModel(_SHAPE), source)}


def _embedded(inputs: Tensors) -> Tensors:
    model: Any = with_weights(BertModel(_SHAPE), inputs)
    model.dropout = Uneven()
    words, types = inputs["embeddings"], inputs["types"]
    found = {"sum": model._summed(words, types), "sum without types": model._summed(words, None)}
    model.config = SimpleNamespace(first_position=2)
    return {**found, "sum from position 2": model._summed(words, types)}


def _normed(inputs: Tensors) -> Tensors:
    model: Any = with_weights(BertModel(_SHAPE), inputs)
    model.dropout = Uneven()
    return {"normed": model._normed(inputs["embeddings"])}


ATTENTION = (
    Exercise("weights", _attention_inputs, _weights),
    Exercise("context", _attention_inputs, _context),
    Exercise("dropout", _attention_inputs, _dropped),
)
MULTIHEAD = (Exercise("forward", _multihead_inputs, _multihead),)
LAYER = (Exercise("forward", _layer_inputs, _layers),)
EMBEDDINGS = (
    Exercise("sum", _embedding_inputs, _embedded),
    Exercise("norm", _embedding_inputs, _normed),
)

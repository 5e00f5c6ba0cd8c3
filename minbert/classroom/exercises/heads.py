"""Exercises of the heads: the sentiment classifier, paraphrase and similarity."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from minbert.classroom.exercises.base import Exercise, gradient, normal, with_weights
from minbert.classroom.judge import Tensors
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.model import MultitaskBert
from minbert.tasks import heads

_SIZE, _CLASSES, _CENTER = 6, 5, 2.5


def _output_weights(source: torch.Generator, outputs: int, inputs: int) -> Tensors:
    return {
        "weight of output.weight": normal(source, outputs, inputs),
        "weight of output.bias": normal(source, outputs),
    }


def _vector_inputs(source: torch.Generator) -> Tensors:
    weights = _output_weights(source, _CLASSES, _SIZE)
    return {"pooled": normal(source, 1, 4, _SIZE), **weights}


def _vector(inputs: Tensors) -> Tensors:
    head = heads.VectorHead(_SIZE, _CLASSES, _CENTER)
    start = head.output.bias.detach().clone()
    logits = with_weights(head, inputs)(inputs["pooled"])
    return {"bias at the start": start, "logits": logits}


class _Masks(nn.Module):
    """Stands for dropout: each call has another mask, of 0 and 2."""

    p, calls = 0.5, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * 2 * ((torch.arange(x.numel()) + self.calls) % 2).view(x.shape)


class _Sums(nn.Module):
    """Stands for a head: (V, B, H) to (B, k)."""

    def forward(self, pooled: Tensor) -> Tensor:
        return torch.stack([rows * (n + 1) for n, rows in enumerate(pooled)]).sum(dim=0)


def _logit_inputs(source: torch.Generator) -> Tensors:
    return {"one": normal(source, 1, 3, _SIZE - 1), "two": normal(source, 2, 3, _SIZE - 1)}


def _logits(inputs: Tensors) -> Tensors:
    shape = EncoderConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1)
    found = {}
    for name, pooled in inputs.items():
        model: Any = MultitaskBert(BertModel(shape), {"alone": _Sums(), name: _Sums()})
        model._head_dropout = _Masks()
        batch = SimpleNamespace(task=SimpleNamespace(name=name))
        found[f"logits of {name}"] = model._logits(batch, pooled)
    return found


def _pair_inputs(source: torch.Generator) -> Tensors:
    weights = _output_weights(source, 2, 3 * _SIZE)
    return {"pooled": normal(source, 2, 4, _SIZE), **weights}


def _difference(inputs: Tensors) -> Tensors:
    head = heads.DifferenceHead(_SIZE, 2)
    with torch.no_grad():
        shape = torch.tensor(head.output.weight.shape)
    return {"shape of the weights": shape, "logits": with_weights(head, inputs)(inputs["pooled"])}


def _cosine_inputs(source: torch.Generator) -> Tensors:
    u, v = normal(source, 4, _SIZE), normal(source, 4, _SIZE)
    u[2] = 0
    return {"u": u, "v": v}


def _cosine(inputs: Tensors) -> Tensors:
    u, v = (inputs[name].clone().requires_grad_() for name in ("u", "v"))
    found = heads.cosine(u, v, eps=0.5)
    of_u, of_v = gradient(found, u, v)
    return {"cosine": found, "gradient of u": of_u, "gradient of v": of_v}


def _scaled(inputs: Tensors) -> Tensors:
    pooled = torch.stack([inputs["u"], inputs["v"]])
    return {"logits": heads.CosineHead(5.0)(pooled)}


def _features(inputs: Tensors) -> Tensors:
    layer, pooled = heads.RelationalLayer(_SIZE, 2, eps=0.5), inputs["pooled"]
    return {"features": layer._features(pooled), "features of one": layer._features(pooled[:1])}


def _feature_inputs(source: torch.Generator) -> Tensors:
    return {"pooled": normal(source, 2, 4, _SIZE)}


SENTIMENT = (
    Exercise("head", _vector_inputs, _vector),
    Exercise("logits", _logit_inputs, _logits),
)
PAIRS = (
    Exercise("difference", _pair_inputs, _difference),
    Exercise("cosine", _cosine_inputs, _cosine),
    Exercise("cosine head", _cosine_inputs, _scaled),
    Exercise("relational features", _feature_inputs, _features),
)

"""Where the encoder's attention lies on one example, layer by layer."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from minbert.data.batches import Dataset, Padded, pad
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.attention import AttentionChoice, attention_weights, reference_attention
from minbert.encoder.bert import BertModel
from minbert.finetune.report.outcome import Outcome
from minbert.model import MultitaskBert
from minbert.reports.report import ShadedText

_WORDS = (
    "The darker a token, the more {whose} to it, as a mean over the heads of a layer and relative "
    "to the layer's most attended token. Attention says where vectors are mixed, not why an answer "
    "came about."
)
_WHOSE = {"cls": "[CLS], whose vector the heads read, attends", "mean": "all tokens attend"}


@torch.inference_mode()
def of_texts(model: MultitaskBert, tokens: Padded, pooling: str) -> list[list[Tensor]]:
    """The attention of each layer to the tokens of each text, (T,) of that text's length.

    It is the mean over heads of what the pooled vector attends to: that of [CLS] (`pooling` cls),
    or the mean of all tokens'.
    """
    layers: list[list[Tensor]] = []

    def watched(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, rate: float) -> Tensor:
        by_text = attention_weights(query, key, mask).mean(dim=1)  # (B, T or 1, T)
        layers.append(
            [
                (rows[0] if pooling == "cls" else rows[:length].mean(dim=0))[:length]
                for rows, length in zip(by_text, tokens.lengths, strict=True)
            ]
        )
        return reference_attention(query, key, value, mask, rate)

    model.eval()
    with _watching(model.encoder, AttentionChoice(watched, watched)):
        model.pool(tokens, scoring=True)
    return layers


@contextlib.contextmanager
def _watching(encoder: BertModel, choice: AttentionChoice) -> Iterator[None]:
    before, encoder.attention = encoder.attention, choice
    try:
        yield
    finally:
        encoder.attention = before


def shaded(outcome: Outcome, dataset: Dataset, row: int) -> list[ShadedText]:
    """The example's texts, shaded by each layer's attention."""
    model, pooling = outcome.parts.trainee.model, outcome.config.pooling
    texts = dataset.rows[row]
    tokens = pad(dataset.texts, texts, dataset.pad_id, model.device)
    layers = of_texts(model, tokens, pooling)
    names = _names(Path(str(outcome.config.weights)))
    title = f"Attention on {dataset.task.title}, id {dataset.ids[row]}"
    return [
        ShadedText(
            title if len(texts) == 1 else f"{title}, text {number + 1}",
            _WORDS.format(whose=_WHOSE[pooling]) if number == 0 else "",
            [
                (f"layer {depth}", _weighted(names, tokens.input_ids[number], by_text[number]))
                for depth, by_text in enumerate(layers, start=1)
            ],
        )
        for number in range(len(texts))
    ]


def _weighted(names: dict[int, str], ids: Tensor, weights: Tensor) -> list[tuple[str, float]]:
    shares = (weights / weights.max()).float().cpu().numpy()
    return [
        (names.get(int(token), "?"), float(np.round(share, 3)))
        for token, share in zip(ids[: len(shares)].tolist(), shares, strict=True)
    ]


def _names(folder: Path) -> dict[int, str]:
    vocab = WordPieceTokenizer.from_folder(folder, max_length=512).vocab
    return {number: token for token, number in vocab.items()}

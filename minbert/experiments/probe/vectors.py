"""What a frozen encoder makes of texts: a vector a text and input, and every layer's mean vectors.

Dimensions: n distinct texts, B texts of a pass, T tokens of its longest, H hidden size, L layers.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minbert.data.batches import Dataset, Padded, by_length, pad
from minbert.encoder.bert import BertModel
from minbert.encoder.selection import every_token
from minbert.encoder.unpadding import choose_layout
from minbert.finetune.evaluate import PASS_TOKENS

INPUTS = ("cls", "pooled", "mean")
Vectors = NDArray[np.float32]


def text_vectors(encoder: BertModel, dataset: Dataset) -> Mapping[str, Vectors]:
    """Every input's vectors (n, H): the last layer's [CLS], BERT's pooler, the mean over tokens."""
    count, size = len(dataset.texts.lengths), encoder.config.hidden_size
    found = {name: np.zeros((count, size), dtype=np.float32) for name in INPUTS}
    for indices, tokens in _passes(encoder, dataset, count):
        *_, last = hidden_states(encoder, tokens)
        cls = last[:, 0]
        vectors = (cls, torch.tanh(encoder.pooler(cls)), mean_over_tokens(last, tokens))
        for name, own in zip(INPUTS, vectors, strict=True):
            found[name][indices] = own.float().cpu().numpy()
    return found


def layer_vectors(encoder: BertModel, dataset: Dataset, most: int) -> Vectors:
    """The mean over tokens after the embeddings and each layer, (L + 1, n, H), n at most `most`."""
    count = min(most, len(dataset.texts.lengths))
    size, layers = encoder.config.hidden_size, len(encoder.layers) + 1
    found = np.zeros((layers, count, size), dtype=np.float32)
    for indices, tokens in _passes(encoder, dataset, count):
        for layer, hidden in enumerate(hidden_states(encoder, tokens)):
            found[layer, indices] = mean_over_tokens(hidden, tokens).float().cpu().numpy()
    return found


@torch.inference_mode()
def hidden_states(encoder: BertModel, tokens: Padded) -> Iterator[Tensor]:
    """What the embeddings and each layer make of texts, (B, T, H), without dropout."""
    assert not encoder.training
    heads, mask = encoder.config.num_attention_heads, tokens.attention_mask
    layout = choose_layout(mask, heads, tokens.real, tokens.computed)
    embedded = encoder.embedding_output(encoder.embed(tokens.input_ids), tokens.token_type_ids)
    hidden, selection = layout.flatten(embedded), every_token(layout)
    yield layout.unflatten(hidden)
    for layer in encoder.layers:
        hidden = layer(hidden, selection, encoder.attention.scoring)
        yield layout.unflatten(hidden)


def mean_over_tokens(hidden: Tensor, tokens: Padded) -> Tensor:
    """The mean (B, H) of tokens (B, T, H) that are no padding."""
    mask = tokens.attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def _passes(
    encoder: BertModel, dataset: Dataset, count: int
) -> Iterator[tuple[NDArray[np.int64], Padded]]:
    """The first `count` texts in passes of similar lengths."""
    device = encoder.pooler.weight.device
    for indices in by_length(dataset.texts.lengths[:count], PASS_TOKENS[device.type]):
        with torch.inference_mode():
            yield indices, pad(dataset.texts, indices, dataset.pad_id, device)

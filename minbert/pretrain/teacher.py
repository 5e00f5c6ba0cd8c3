"""The teacher: a frozen encoder whose vectors a student learns, and its word embeddings to begin.

Dimensions: N texts, W words, V tokens of the student, H its hidden size, D the teacher's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minbert.data.batches import Padded
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.bert import BertModel
from minbert.pretrain.alignment import (
    Place,
    ReadRow,
    RowReader,
    like_lengths,
    row_means,
    word_means,
)
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.word_vectors import SIZE
from minbert.support.device import pick_autocast, to_device
from minbert.support.errors import InputError

NO_LIMIT = 2**30  # rows are cut when they are packed or read, not by the tokenizer


@dataclass(frozen=True)
class TextVectors:
    """The teacher's vectors of N texts (N, D) and of W words (W, D), and where these stand."""

    texts: Tensor
    words: Tensor
    places: Mapping[Place, int]  # of the words, by the number of their text


@dataclass(frozen=True)
class Teacher:
    """A frozen encoder in eval mode, and how it reads rows."""

    encoder: BertModel
    tokenizer: WordPieceTokenizer
    reader: RowReader
    autocast: torch.dtype | None

    @torch.no_grad()
    def read(self, texts: Sequence[ReadRow], piece: int) -> TextVectors:
        """The vectors of texts that its reader has read, `piece` of them at a time."""
        order, means, words = like_lengths(texts, piece), [], []
        places: dict[Place, int] = {}
        for numbers in order:
            rows = [texts[number] for number in numbers]
            tokens = self.reader.collate(rows, self.encoder.word_embeddings.weight.device)
            hidden = self._hidden(tokens)
            means.append(row_means(hidden, tokens))
            words.append(word_means(hidden, [list(row.words.values()) for row in rows]))
            for number, row in zip(numbers.tolist(), rows, strict=True):
                for _, begin, end in row.words:
                    places[number, begin, end] = len(places)
        back = np.argsort(np.concatenate(order))
        means_in_order = torch.cat(means)[to_device(back, means[0].device)]
        return TextVectors(means_in_order, torch.cat(words), places)

    def _hidden(self, tokens: Padded) -> Tensor:
        """Vectors of all tokens in the last layer, (B, T, D)."""
        embeddings = self.encoder.embed(tokens.input_ids)
        kind, lowered = embeddings.device.type, self.autocast is not None
        with torch.autocast(kind, dtype=self.autocast, enabled=lowered):
            mask, types = tokens.attention_mask, tokens.token_type_ids
            outputs = self.encoder.encode(embeddings, mask, types, scoring=True)
        return outputs["last_hidden_state"]


def load_teacher(config: PretrainConfig, device: torch.device) -> Teacher:
    """The teacher that `config` names. Raises InputError where it cannot read what is asked."""
    folder = Path(str(config.teacher))
    encoder = BertModel.from_pretrained(folder, config.attention).requires_grad_(False).to(device)
    shape = encoder.config
    if config.sequence_length > shape.longest:
        raise InputError(
            f"--sequence_length {config.sequence_length}: the teacher has {shape.longest} positions"
        )
    tokenizer = WordPieceTokenizer.from_folder(folder, NO_LIMIT, shape.vocab_size)
    reader = RowReader(tokenizer, config.sequence_length)
    return Teacher(encoder, tokenizer, reader, pick_autocast(config.precision, device))


def principal_components(
    teacher: Teacher, vocab: Mapping[str, int], rows: int, size: int
) -> NDArray[np.float32]:
    """The `size` (H) principal components of the teacher's word embeddings for `vocab`, (V, H).

    `vocab` is WordPiece's, where ## goes on with a word; the teacher's may mark beginnings instead.
    A token that the teacher splits has the mean of its pieces; one that it drops has zeros. They
    are scaled to the root mean square SIZE. A teacher narrower than the student leaves the last
    columns zero.
    """
    table = teacher.encoder.word_embeddings.weight.cpu().double().numpy()  # (.., D)
    theirs, tokens = teacher.tokenizer.vocab, list(vocab)
    names = [_as_theirs(token, teacher.tokenizer.beginning) for token in tokens]
    texts = teacher.tokenizer.encodings([_letters(token) for token in tokens])
    split = [
        [theirs[name]] if name in theirs else text.ids
        for name, text in zip(names, texts, strict=True)
    ]
    known = [number for number, ids in enumerate(split) if ids]
    vectors = np.stack([table[split[number]].mean(axis=0) for number in known])
    vectors -= vectors.mean(axis=0)
    _, axes = np.linalg.eigh(vectors.T @ vectors)  # ascending
    components = vectors @ axes[:, ::-1][:, :size]
    found = np.zeros((rows, size), dtype=np.float32)
    scale = SIZE / max(float(np.sqrt(np.mean(components**2))), 1e-12)
    places = [vocab[tokens[number]] for number in known]
    found[places, : components.shape[1]] = components * scale
    return found


def _as_theirs(token: str, beginning: str) -> str:
    """A token of WordPiece as a vocabulary has it that writes `beginning` before a word."""
    return token.removeprefix("##") if beginning and token.startswith("##") else beginning + token


def _letters(token: str) -> str:
    """The text of a token; a space before it says that a word begins."""
    return token[2:] if token.startswith("##") else f" {token}"

"""A tiny teacher of another vocabulary, depth and width than the student's, and its student."""

from __future__ import annotations

from pathlib import Path

import torch

from minbert.data.subwords import SPECIAL_TOKENS, wordpiece
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.pretrain.alignment import RowReader
from minbert.pretrain.model import PretrainingBert, fresh
from minbert.pretrain.teacher import Teacher
from tests.helpers import TINY, VOCAB, make_tokenizer
from tests.tiny_models import randomize

# other numbers than VOCAB's, some words whole and others in letters
_LETTERS = [chr(number) for number in range(ord("a"), ord("z") + 1)]
_WHOLE = [word for word in reversed(VOCAB) if word.isalpha() and len(word) != 4]
THEIRS = dict.fromkeys([*_WHOLE, "😀", "中", *_LETTERS, *(f"##{x}" for x in _LETTERS)])
THEIRS = {t: i for i, t in enumerate([*reversed(SPECIAL_TOKENS), *THEIRS])}
SHAPE = EncoderConfig(
    vocab_size=len(THEIRS),
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=48,
)


def their_tokenizer(**settings: bool) -> WordPieceTokenizer:
    return WordPieceTokenizer(wordpiece(THEIRS, **settings), 2**30)


def our_reader(length: int = 32) -> RowReader:
    return RowReader(make_tokenizer(2**30), length)


def their_reader(length: int = 32, **settings: bool) -> RowReader:
    return RowReader(their_tokenizer(**settings), length)


def their_encoder(spread: float = 0.3) -> BertModel:
    """The teacher's encoder, all of its weights sizeable."""
    torch.manual_seed(5)
    encoder = BertModel(SHAPE)
    randomize(encoder, spread)
    encoder.vocab_files = {"vocab.txt": "".join(f"{t}\n" for t in THEIRS).encode()}
    return encoder.eval().requires_grad_(False)


def tiny_teacher(length: int = 32, dtype: torch.dtype = torch.float32) -> Teacher:
    return Teacher(their_encoder().to(dtype), their_tokenizer(), their_reader(length), None)


def tiny_student(dropout: float = 0.0, **settings) -> PretrainingBert:
    """A student whose weights are all sizeable."""
    model = fresh(TINY, 0, dropout=dropout, teacher_size=SHAPE.hidden_size, **settings)
    randomize(model, 0.3)
    return model


def save_teacher(folder: Path) -> Path:
    """A teacher on disk whose vectors are mainly those of the words."""
    their_encoder(spread=0.0).save_pretrained(folder)
    return folder

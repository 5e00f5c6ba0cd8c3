"""Small texts to pretrain on, of the tests' vocabulary."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np

from minbert.pretrain.packing import Frame, Sentences
from tests.helpers import VOCAB, make_tokenizer

PLAIN = [word for word in VOCAB if word.isalpha()]
FRAME = Frame(VOCAB["[CLS]"], VOCAB["[SEP]"], 24)


def random_documents(count: int, seed: int = 0, most_sentences: int = 9) -> list[list[str]]:
    """Documents of 1 to `most_sentences` sentences of 1 to 9 words."""
    draw = Random(seed)
    return [
        [" ".join(draw.choices(PLAIN, k=draw.randint(1, 9))) for _ in range(sentences)]
        for sentences in (draw.randint(1, most_sentences) for _ in range(count))
    ]


def tokenised(documents: list[list[str]]) -> Sentences:
    """The documents as packing takes them."""
    texts = make_tokenizer(2**20).encode(
        [(s,) for document in documents for s in document], special=False
    )
    return Sentences(texts, np.cumsum([0, *map(len, documents)]))


def write_documents(path: Path, documents: list[list[str]]) -> Path:
    """A text file: one sentence a line, a blank line between documents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join("\n".join(document) for document in documents) + "\n")
    return path


def learnable_documents(count: int, seed: int = 0) -> list[list[str]]:
    """Documents whose sentences repeat one pair of words: neighbours can be told and guessed."""
    draw = Random(seed)
    made = []
    for _ in range(count):
        pair = draw.sample(PLAIN, 2)
        made.append([" ".join(pair * draw.randint(2, 4)) for _ in range(draw.randint(4, 9))])
    return made

"""A WordPiece vocabulary of one's own, trained by the `tokenizers` library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

from minbert import files
from minbert.pretraining.corpus import is_held_out, read_documents
from minbert.runtime import InputError, log
from minbert.tokenizer import SPECIAL_TOKENS

_FORMAT = 1  # raise it when the same text would make another vocabulary
_LETTERS = 256  # single characters that get a token; a rarer one makes its word [UNK]


def cached_vocabulary(cache: Path, paths: Sequence[Path], size: int, held_out: float) -> Path:
    """The folder with the vocabulary of these files' training documents, trained now or before."""
    hashes = [files.sha256_of(path) for path in paths]
    decisive = json.dumps([_FORMAT, hashes, size, held_out])
    folder = cache / f"vocabulary-{hashlib.sha256(decisive.encode()).hexdigest()[:16]}"
    if not folder.exists():
        documents = read_documents(paths, "vocabulary")
        kept = (document for document in documents if not is_held_out(document, held_out))
        made = train_vocabulary((s for document in kept for s in document), size)
        with files.new_folder(folder) as draft:
            for name, content in made.items():
                (draft / name).write_bytes(content)
    log.info("vocabulary: %s", folder)
    return folder


def train_vocabulary(sentences: Iterable[str], size: int) -> dict[str, bytes]:
    """The files of a lower-cased vocabulary of `size` tokens.

    Raises InputError where the text makes fewer.
    """
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    trainer = WordPieceTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL_TOKENS),
        limit_alphabet=_LETTERS,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    vocab = tokenizer.get_vocab()
    if len(vocab) != size:
        raise InputError(
            f"--vocab_size {size}: the text makes {len(vocab)} tokens; give more text, or that size"
        )
    tokens = sorted(vocab, key=vocab.__getitem__)
    settings = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    return {
        "vocab.txt": "".join(f"{token}\n" for token in tokens).encode(),
        "tokenizer_config.json": (json.dumps(settings, indent=1) + "\n").encode(),
    }

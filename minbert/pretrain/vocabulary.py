"""A WordPiece vocabulary trained on the text, by the `tokenizers` library."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

from minbert.data.subwords import SPECIAL_TOKENS
from minbert.pretrain.cache import made_of_text
from minbert.pretrain.corpus import is_held_out, read_documents
from minbert.support.console import log
from minbert.support.errors import InputError

_FORMAT = 2  # to be raised when the same text would make another vocabulary
_LETTERS = 256  # single characters that get a token; a rarer character makes its word [UNK]


def cached_vocabulary(cache: Path, paths: Sequence[Path], size: int, held_out: float) -> Path:
    """The folder with the vocabulary of these files' training documents, trained if need be."""

    def sentences() -> Iterator[str]:
        documents = read_documents(paths, "vocabulary")
        kept = (document for document in documents if not is_held_out(document, held_out))
        return (sentence for document in kept for sentence in document)

    def fill(draft: Path) -> None:
        for name, content in train_vocabulary(sentences, size).items():
            (draft / name).write_bytes(content)

    decisive = {"format": _FORMAT, "size": size, "held_out": held_out}
    folder = made_of_text(cache, "vocabulary-", paths, decisive, fill)
    log.info("vocabulary: %s", folder)
    return folder


def train_vocabulary(sentences: Callable[[], Iterable[str]], size: int) -> dict[str, bytes]:
    """The files of a lower-cased vocabulary of `size` tokens; `sentences` is called twice.

    The library's trainer numbers a letter inside a word (`##e`) when it first meets one, in an
    order that changes from run to run, and breaks ties between merges by these numbers. If the
    letters are named beforehand, their numbers are fixed, and the same text gives the same
    vocabulary.

    Raises InputError where the text makes another number of tokens.
    """
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    letters = _letters(tokenizer.normalizer, sentences())
    trainer = WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL_TOKENS, *(f"##{letter}" for letter in letters)],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences(), trainer)
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


def _letters(normalizer: BertNormalizer, sentences: Iterable[str]) -> list[str]:
    """The most frequent characters, sorted."""
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(normalizer.normalize_str(sentence))
    ranked = sorted(counts, key=lambda letter: (-counts[letter], letter))
    return sorted(letter for letter in ranked[: _LETTERS + 1] if not letter.isspace())

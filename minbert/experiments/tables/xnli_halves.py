"""XNLI from its dev files alone: half of the premises to train on, the other half to score.

XNLI trains on MNLI's training set. Where that is not at hand, the dev set's premises are halved:
the hypotheses of one half train in English, and those of the other are scored in every language.
"""

from pathlib import Path

import numpy as np

from minbert.support import durable_files, untrusted
from minbert.support.errors import InputError
from minbert.tasks.xnli import LANGUAGES

_SEED = 0


def write(source: Path, target: Path) -> int:
    """Write `train-en.tsv` and the `dev-*.tsv` of every language that `source` has into `target`.

    The files have no header, and line i is the same example in all. Returns the number of
    languages. Raises InputError where there is no English, or files of different length.
    """
    lines = {language: _lines(source / f"dev-{language}.tsv") for language in LANGUAGES}
    there = {language: own for language, own in lines.items() if own}
    if "en" not in there:
        raise InputError(f"{source / 'dev-en.tsv'}: no such file, which --proxy halves")
    english = there["en"]
    for language, own in there.items():
        if len(own) != len(english):
            raise InputError(
                f"{source / f'dev-{language}.tsv'}: has {len(own)} lines, dev-en.tsv "
                f"{len(english)}; --proxy needs the same examples in the same order"
            )
    trains = _half([line.split("\t")[0] for line in english])
    texts = {"train-en.tsv": _text(english, trains)}
    texts |= {f"dev-{language}.tsv": _text(own, ~trains) for language, own in there.items()}
    target.mkdir(parents=True, exist_ok=True)
    # what is there already may be what a run is reading
    new = {target / name: text for name, text in texts.items() if _is_new(target / name, text)}
    durable_files.write_texts(new)
    return len(there)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    # at line feeds alone: a text may hold other characters that Python takes for line ends
    return untrusted.read_text(path).removesuffix("\n").split("\n")


def _is_new(path: Path, text: str) -> bool:
    return not path.is_file() or path.read_bytes() != text.encode()


def _half(premises: list[str]) -> np.ndarray:
    """Which examples train: those of half of the premises, drawn at random."""
    distinct = list(dict.fromkeys(premises))
    if len(distinct) < 2:
        raise InputError("dev-en.tsv: has one premise; --proxy needs two or more")
    order = np.random.default_rng(_SEED).permutation(len(distinct))
    drawn = {distinct[place] for place in order[: len(distinct) // 2]}
    return np.array([premise in drawn for premise in premises])


def _text(lines: list[str], chosen: np.ndarray) -> str:
    return "".join(f"{line}\n" for line, taken in zip(lines, chosen, strict=True) if taken)

"""What is read of a batch: every sentence alone, and pairs of all degrees of likeness together."""

from collections import Counter

import numpy as np
import pytest

from minbert.data.subwords import SPECIAL_TOKENS, wordpiece
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.pretrain.alignment import RowReader
from minbert.pretrain.pairs import agreement, altered, read_rows
from tests.helpers import VOCAB
from tests.pretrain.taught import our_reader, their_reader
from tests.pretrain.test_teacher_alignment import HOSTILE, ROWS

WORDS = [word for word in VOCAB if word.isalpha()]


def sentences(count: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(4, 9))) for _ in range(count)]


def test_every_sentence_is_read_alone_and_a_row_of_two_gives_a_pair() -> None:
    ours, theirs = our_reader(), their_reader()
    reads = read_rows(ROWS, ours, theirs, 1)
    texts = [text for row in ROWS for text in row]
    assert reads.texts[: len(texts)] == theirs.read([(text,) for text in texts])
    alone, pairs = reads.readings[: len(texts)], reads.readings[len(texts) :]
    assert [reading.texts for reading in alone] == [(n,) for n in range(len(texts))]
    assert [reading.row for reading in alone] == ours.read([(text,) for text in texts])
    assert len(pairs) == sum(len(row) == 2 for row in ROWS)
    assert {len(reading.texts) for reading in pairs} == {2}
    assert max(max(reading.texts) for reading in pairs) < len(reads.texts)


def test_the_words_of_a_pair_are_those_of_its_texts() -> None:
    """Where nothing is cut, a reading's words are the words of the texts that it names."""
    rows = list(zip(sentences(40), sentences(40, 1), strict=True))
    reader = our_reader(64)
    reads = read_rows(rows, reader, reader, 3)
    for reading in reads.readings:
        texts = [(n, reads.texts[n]) for n in reading.texts]
        expected = {(n, begin, end) for n, text in texts for _, begin, end in text.words}
        assert {place for place, _ in reading.words} == expected
        ids = [token for _, text in texts for token in text.ids[1:]]
        assert list(reading.row.ids) == [VOCAB["[CLS]"], *ids]


def test_pairs_are_of_three_kinds_and_in_both_orders() -> None:
    rows = list(zip(sentences(600), sentences(600, 1), strict=True))
    reads = read_rows(rows, our_reader(64), our_reader(64), 5)
    count = 2 * len(rows)
    kinds: Counter[str] = Counter()
    for number, reading in enumerate(reads.readings[count:]):
        own, pair = {2 * number, 2 * number + 1}, reading.texts
        assert own & set(pair)
        altered_one = max(pair) >= count
        kinds["altered" if altered_one else "following" if set(pair) == own else "any"] += 1
        kinds["first is first" if pair[0] in own and pair[0] < count else "other order"] += 1
    total = len(rows)
    assert kinds["following"] / total == pytest.approx(0.4, abs=0.07)
    assert kinds["altered"] / total == pytest.approx(0.4, abs=0.07)
    assert kinds["any"] / total == pytest.approx(0.2, abs=0.07)
    assert kinds["other order"] / total == pytest.approx(0.3, abs=0.07)
    assert len(reads.texts) == count + kinds["altered"]


def test_the_seed_decides_them() -> None:
    first, again, other = (read_rows(ROWS, our_reader(), their_reader(), s) for s in (1, 1, 2))
    assert first == again != other
    assert first.readings[: len(HOSTILE)] == other.readings[: len(HOSTILE)]


def test_an_altered_sentence_keeps_some_of_its_words_in_their_places() -> None:
    rng = np.random.default_rng(0)
    kept, lengths = [], set()
    for _ in range(300):
        text, other = "a b c d e f g h", "1 2 3 4 5"
        words = altered(text, other, rng).split()
        own = [word for word in words if word.isalpha()]
        assert own == sorted(own)
        strange = [word for word in words if word.isdigit()]
        assert "".join(strange) in "12345"
        if strange:
            assert len(words) == 8
            assert [w for w, o in zip(words, text.split(), strict=True) if w == o] == own
        kept.append(len(own) / 8)
        lengths.add(len(words))
    assert min(kept) < 0.4
    assert max(kept) == 1.0
    assert 0.5 < np.mean(kept) < 0.8
    assert len(lengths) > 4


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_can_be_altered(text: str) -> None:
    rng = np.random.default_rng(0)
    for other in HOSTILE:
        for _ in range(5):
            assert set(altered(text, other, rng).split()) <= {*text.split(), *other.split()}


def test_agreement_is_a_share_of_the_words_of_either() -> None:
    ours = our_reader(2**30)
    sentences = ["the film", "unknownword a"]

    def share(theirs: RowReader, sentences: list[str] = sentences) -> float:
        return agreement(sentences, ours, theirs)

    assert share(ours) == 1.0
    assert share(their_reader(2**30)) == 3 / 4
    assert share(their_reader(2**30), ["the film unknownword a"]) == 3 / 4
    chinese = {t: i for i, t in enumerate([*SPECIAL_TOKENS, "中", "文"])}
    assert share(RowReader(WordPieceTokenizer(wordpiece(chinese), 2**30), 2**30)) == 0.0
    assert share(ours, [""]) == 0.0

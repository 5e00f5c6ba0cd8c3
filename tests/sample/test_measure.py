"""What is measured of the files, against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minbert.sample.lexicon import held_out, lists
from minbert.sample.measure import area, cosines, facts, regressed, vocabulary, words
from minbert.sample.tables import TASKS, SampleRow

Sample = dict[str, dict[str, list[SampleRow]]]
README = (Path(__file__).parents[2] / "data" / "sample" / "README.md").read_text(encoding="utf-8")
BY_STEM = {task.stem: task for task in TASKS}


def example(*texts: str, label: str = "0", truth: float = 0.0, novel: bool = False) -> SampleRow:
    return SampleRow(texts, truth, label, (), (), novel)


def test_words_are_words() -> None:
    assert words("It is n't a mind-numbing film , at 9 .") == [
        "it", "is", "n't", "a", "mind-numbing", "film", "at",
    ]  # fmt: skip


def test_area_counts_pairs() -> None:
    values, labels = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.0, 0.0, 1.0, 1.0])
    assert area(values, labels) == (1 + 1 + 1 + 0.5) / 4


def test_cosines_of_equal_disjoint_and_common_words() -> None:
    train = [example("the cat", "the dog"), example("the owl", "the fox")]
    rows = [example("a cat", "cat a"), example("cat", "dog"), example("the cat", "the dog")]
    same, apart, common = cosines(train, rows)
    assert same == pytest.approx(1) and apart == 0
    assert common == 0  # what they share is in every text


def test_regression_learns_words_and_their_order() -> None:
    texts = {"0": ["good not", "so dull"], "1": ["not good", "so fine"]}
    train = [example(text, label=label) for label, found in texts.items() for text in found] * 20
    assert regressed(train, train) == 1.0
    assert regressed(train, [example("so fine", label="0")]) == 0.0


def test_facts_of_a_small_set() -> None:
    train = [example("a dull film", label="0"), example("a fine film", label="1", truth=1.0)] * 4
    dev = [
        example("a fine film", label="1", truth=1.0),
        example("a drab film indeed", label="1", truth=0.0, novel=True),
    ]
    found = dict(facts(BY_STEM["ids-sst"], {"train": train, "dev": dev}))
    assert found["words a text"] == pytest.approx((8 * 3 + 3 + 4) / 10)
    assert found["distinct words"] == 6
    assert found["distinct words of dev that train lacks"] == 2
    assert found["share of dev with something held out"] == 0.5
    assert found["ceiling: accuracy of the labels without noise"] == 0.5
    assert found["majority label"] == 1.0


@pytest.fixture(scope="module")
def measured(sample: Sample) -> dict[str, dict[str, float]]:
    return {stem: dict(facts(BY_STEM[stem], splits)) for stem, splits in sample.items()}


def test_words_alone_lead_part_of_the_way(measured: dict[str, dict[str, float]]) -> None:
    """Better than guessing, far from the ceiling: there is something left to learn."""
    regression = "words: accuracy of a regression on one and two words"
    assert 0.36 < measured["ids-sst"][regression] < 0.50
    assert 0.65 < measured["ids-cfimdb"][regression] < 0.95
    assert 0.55 < measured["quora"]["words: area under the curve of the cosine"] < 0.9
    assert measured["quora"]["words: accuracy of the cosine"] < 0.86
    assert 0.5 < measured["sts"]["words: r of the cosine"] < 0.68
    for found in measured.values():
        assert next(value for name, value in found.items() if name.startswith("ceiling")) > 0.85


def test_the_readme_tells_what_is_measured(measured: dict[str, dict[str, float]]) -> None:
    rows = [line.strip("| ").split(" | ") for line in README.splitlines() if line.startswith("| `")]
    for stem, found in measured.items():
        size, scores = (row for row in rows if row[0] in (f"`{stem}-*`", f"`{stem}`"))
        assert float(size[-2]) == pytest.approx(found["words a text"], abs=0.051)
        assert int(size[-1].replace(",", "")) == found["distinct words"]
        named = {name.split(":")[0].split(" of ")[-1]: value for name, value in found.items()}
        ceiling = next(value for name, value in found.items() if name.startswith("ceiling"))
        words_alone = [value for name, value in found.items() if name.startswith("words: ")][-1]
        assert float(scores[2]) == pytest.approx(named.get("majority label", 0), abs=0.0006)
        assert float(scores[3]) == pytest.approx(words_alone, abs=0.0151)
        assert float(scores[5]) == pytest.approx(ceiling, abs=0.0006)
    assert f"{measured['quora']['words: area under the curve of the cosine']:.3f}"[1:] in README


def test_the_readme_counts_words(sample: Sample) -> None:
    rows = [row for splits in sample.values() for made in splits.values() for row in made]
    entries = {entry for made in lists().values() for entry in made}
    assert f"{len(vocabulary(rows)):,} distinct words" in README
    assert f"({sum(map(held_out, entries)):,} of {len(entries):,} entries" in README

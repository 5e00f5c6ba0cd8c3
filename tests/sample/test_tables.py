"""The committed files: what the generator writes, in the course's layout, and without leaks."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from pathlib import Path

import pytest

from minbert.data.reading import read_split
from minbert.sample import noise, tables
from minbert.sample.draw import ExampleDraw
from minbert.sample.inflection import FORMS, plural
from minbert.sample.lexicon import document, held_out, held_word, lemmas, lists
from minbert.sample.questions import topics
from minbert.sample.similarity import kinds
from minbert.sample.tables import SPLITS, TASKS, SampleRow, SampleTask, examples, lines, spelled
from minbert.tasks.registry import TASKS as REAL_TASKS

COMMITTED = Path(__file__).parents[2] / "data" / "sample"
NAMES = [f"{task.stem}-{split}.csv" for task in TASKS for split in SPLITS]
HEADERS = {
    "ids-sst": ["", "id", "sentence", "sentiment"],
    "quora": ["", "id", "sentence1", "sentence2", "is_duplicate"],
    "sts": ["", "id", "sentence1", "sentence2", "similarity"],
    "ids-cfimdb": ["", "id", "sentence", "sentiment"],
}
TEST_HEADERS = {
    "ids-sst": ["0", "", "id", "sentence"],
    "quora": ["", "id", "sentence1", "sentence2"],
    "sts": ["", "id", "sentence1", "sentence2"],
    "ids-cfimdb": ["0", "", "id", "sentence"],
}
Sample = dict[str, dict[str, list[SampleRow]]]
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.stem)


def read(stem: str, split: str) -> tuple[list[str], list[dict[str, str]]]:
    """A committed file's header, and its rows by column name."""
    with (COMMITTED / f"{stem}-{split}.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t", strict=True)
    return header, [dict(zip(header, row, strict=True)) for row in rows]


def tokens(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


# ---- The files ----------------------------------------------------------------------------
@each_task
def test_committed_files_are_what_the_generator_writes(task: SampleTask, sample: Sample) -> None:
    for split, rows in sample[task.stem].items():
        written = (COMMITTED / f"{task.stem}-{split}.csv").read_bytes()
        assert spelled(lines(task, split, rows, seed=11711)).encode() == written


@each_task
def test_a_seed_names_the_rows(task: SampleTask) -> None:
    small = task._replace(rows=(8, 3, 3))
    first, again, other = (list(examples(small, seed)) for seed in (5, 5, 6))
    assert first == again
    assert all(a != b for (_, a), (_, b) in zip(first, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_plain_tab_separated_lines(name: str) -> None:
    raw = (COMMITTED / name).read_bytes()
    stem, split = next((t.stem, s) for t in TASKS for s in SPLITS if name == f"{t.stem}-{s}.csv")
    assert b"\r" not in raw and raw.endswith(b"\n") and raw.isascii()
    width = len((TEST_HEADERS if split == "test-student" else HEADERS)[stem])
    assert {line.count("\t") for line in raw.decode().splitlines()} == {width - 1}
    # A field is quoted only where it holds a quotation mark.
    fields = [field for line in raw.decode().splitlines() for field in line.split("\t")]
    assert all('""' in field for field in fields if field.startswith('"'))


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in COMMITTED.iterdir()) < 1_600_000


@each_task
def test_layout(task: SampleTask) -> None:
    ids: list[str] = []
    for split, count in zip(SPLITS, task.rows, strict=True):
        header, rows = read(task.stem, split)
        assert header == (TEST_HEADERS if split == "test-student" else HEADERS)[task.stem]
        assert len(rows) == count
        ids += [row["id"] for row in rows]
    assert all(re.fullmatch("[0-9a-f]{25}", identity) for identity in ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("stem", ["ids-sst", "ids-cfimdb"])
def test_sentence_files_number_their_rows_in_order(stem: str) -> None:
    rows = read(stem, "test-student")[1]
    assert [(row["0"], row[""]) for row in rows] == [
        (str(i + 1), f"{i}.0") for i in range(len(rows))
    ]
    dev = read(stem, "dev")[1]
    assert [row[""] for row in dev] == [str(i) for i in range(len(dev))]


@pytest.mark.parametrize("stem", ["quora", "sts"])
def test_pair_files_number_their_rows_at_random(stem: str) -> None:
    numbers = [int(row[""]) for split in SPLITS for row in read(stem, split)[1]]
    assert sorted(numbers) == list(range(len(numbers)))
    assert numbers != sorted(numbers)


@pytest.mark.parametrize(
    ("name", "stem"), [("sst", "ids-sst"), ("para", "quora"), ("sts", "sts"), ("sst", "ids-cfimdb")]
)
def test_our_reader_finds_nothing_wrong(name: str, stem: str) -> None:
    task = REAL_TASKS[name]
    for split, file in zip(("train", "dev", "test"), SPLITS, strict=True):
        made = read_split(task, split, COMMITTED / f"{stem}-{file}.csv", strict=True)
        assert made.bad_rows == [] and len(made.examples) == made.rows


# ---- Texts --------------------------------------------------------------------------------
@each_task
def test_no_text_occurs_twice(task: SampleTask, sample: Sample) -> None:
    seen = [
        " ".join(tokens(text))
        for rows in sample[task.stem].values()
        for row in rows
        for text in row.texts
    ]
    assert len(set(seen)) == len(seen)


@each_task
def test_texts_are_tidy(task: SampleTask, sample: Sample) -> None:
    vowel = r"\b[Aa] (?!uni|one|eu|us|uk|ute)[aeiou]|\b[Aa]n [^aeiouh]"
    wrong = vowel + r"|[{}/|*]|\S  |  \S|,\s*,|\b(\w+) \1\b"
    for rows in sample[task.stem].values():
        for row in rows:
            for text in row.texts:
                assert not re.search(wrong, text), text
                assert text.strip()[0].isupper()


def test_lengths_are_about_those_of_the_real_sets(sample: Sample) -> None:
    def mean(stem: str) -> float:
        lengths = [len(t.split()) for rows in sample[stem].values() for r in rows for t in r.texts]
        return sum(lengths) / len(lengths)

    assert 15 < mean("ids-sst") < 20
    assert 9 < mean("quora") < 12
    assert 9 < mean("sts") < 12
    assert 110 < mean("ids-cfimdb") < 170


def test_some_fields_need_quotes() -> None:
    assert any('"' in row["sentence1"] for row in read("quora", "train")[1])


def test_there_are_a_few_thousand_words(sample: Sample) -> None:
    found = {
        word
        for splits in sample.values()
        for rows in splits.values()
        for row in rows
        for text in row.texts
        for word in tokens(text)
    }
    assert len(found) > 4000


# ---- Labels -------------------------------------------------------------------------------
@each_task
def test_shares_of_the_labels(task: SampleTask, sample: Sample) -> None:
    for rows in sample[task.stem].values():
        bands = Counter(int(row.truth + 0.5) for row in rows)
        for label, share in enumerate(task.shares):
            assert bands[label] / len(rows) == pytest.approx(share / sum(task.shares), abs=0.01)


@each_task
def test_noise_has_the_stated_rate_in_every_split(task: SampleTask, sample: Sample) -> None:
    rates = {"ids-sst": noise.NEIGHBOUR, "quora": noise.FLIP, "ids-cfimdb": noise.REVIEW_FLIP}
    for rows in sample[task.stem].values():
        errors = [float(row.label) - row.truth for row in rows]
        if task.stem == "sts":
            inside = [e for e, row in zip(errors, rows, strict=True) if 1 <= row.truth <= 4]
            spread = math.sqrt(sum(e * e for e in inside) / len(inside))
            assert spread == pytest.approx(noise.SPREAD, abs=4 * noise.SPREAD / len(inside) ** 0.5)
        else:
            rate = rates[task.stem]
            wrong = sum(error != 0 for error in errors) / len(rows)
            assert wrong == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / len(rows)))


# ---- Leaks --------------------------------------------------------------------------------
@each_task
def test_train_takes_nothing_held_out(task: SampleTask, sample: Sample) -> None:
    for row in sample[task.stem]["train"]:
        assert not row.novel
        assert not [word for word in row.entries if held_out(word)]
        assert not [production for production in row.productions if production.startswith("*")]


@each_task
def test_a_third_of_dev_and_test_takes_something_held_out(task: SampleTask, sample: Sample) -> None:
    words, productions = set[str](), set[str]()
    for split in SPLITS[1:]:
        rows = sample[task.stem][split]
        assert sum(row.novel for row in rows) / len(rows) == pytest.approx(1 / 3, abs=0.01)
        for row in rows:
            held = [word for word in row.entries if held_out(word)]
            starred = [text for text in row.productions if text.startswith("*")]
            assert row.novel == bool(held or starred)
            words.update(held)
            productions.update(starred)
    assert len(words) > 50 and len(productions) >= 7


def test_no_form_of_a_held_out_word_is_in_train(sample: Sample) -> None:
    slots = [*(topic.slots for topic in topics()), *(kind.slots for kind in kinds())]
    entries = {entry for made in (lists(), *slots) for found in made.values() for entry in found}
    held = sorted({word for entry in entries for word in lemmas(entry) if held_word(word)})
    forms = {form(word) for word in held for form in (str, plural, *FORMS.values())}
    train = {
        word
        for splits in sample.values()
        for row in splits["train"]
        for text in row.texts
        for word in tokens(text)
    }
    assert len(held) > 400
    assert not train & forms


def test_no_train_question_has_a_held_out_wording(sample: Sample) -> None:
    source = document("questions.toml")
    intents = [source["intents"], *(topic.get("intents", {}) for topic in source["topic"])]
    wordings = {text for made in intents for texts in made.values() for text in texts}
    held = [text for text in wordings if text.startswith("*")]
    patterns = [re.sub(r"\\\{.*?\\\}", ".*", re.escape(text[1:])) for text in held]
    pattern = re.compile("|".join(patterns).replace(r"\ .*", ".*"), re.IGNORECASE)
    assert len(held) > 60

    def count(split: str) -> int:
        return sum(bool(pattern.search(t)) for row in sample["quora"][split] for t in row.texts)

    assert count("train") == 0
    assert count("dev") > 50


def test_running_out_of_texts_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(_: ExampleDraw, label: int) -> tuple[tuple[str, ...], float]:
        return ("x",), label

    monkeypatch.setattr(tables, "PATIENCE", 50)
    task = SampleTask("one", "label", (2, 1, 1), (1,), draw, noise.neighbour, pair=False)
    with pytest.raises(RuntimeError, match="one: no new example of label 0 in 50 draws"):
        list(examples(task, seed=0))

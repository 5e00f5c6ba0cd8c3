"""The synthetic sample: reproducible bytes, the course's layout, balanced labels, no leaks."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from minbert import sample

COMMITTED = Path(__file__).parents[1] / "data" / "sample"
SPLITS = ("train", "dev", "test-student")
ROWS = {
    "ids-sst": (400, 100, 100),
    "quora": (600, 150, 150),
    "sts": (240, 80, 80),
    "ids-cfimdb": (60, 20, 20),
}
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
NAMES = [f"{stem}-{split}.csv" for stem in ROWS for split in SPLITS]


def read(stem: str, split: str) -> tuple[list[str], list[dict[str, str]]]:
    """Return a committed file's header, and its rows by column name."""
    with (COMMITTED / f"{stem}-{split}.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t", strict=True)
    return header, [dict(zip(header, row, strict=True)) for row in rows]


def labels(stem: str, split: str) -> list[str]:
    return [row[HEADERS[stem][-1]] for row in read(stem, split)[1]]


def texts(stem: str, split: str) -> Iterator[str]:
    """Yield every text of a file, reduced to its words."""
    for row in read(stem, split)[1]:
        for column in row.keys() & {"sentence", "sentence1", "sentence2"}:
            yield " ".join(re.findall(r"\w+", row[column].lower()))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def test_committed_files_are_what_the_generator_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample.main(["--out", str(tmp_path / "new" / "folder")]) == 0
    assert contents(tmp_path / "new" / "folder") == contents(COMMITTED)
    expected = [
        f"{stem}-{s}.csv: {n} rows"
        for stem in ROWS
        for s, n in zip(SPLITS, ROWS[stem], strict=True)
    ]
    assert capsys.readouterr().out.splitlines() == expected


def test_seed_fixes_every_byte(tmp_path: Path) -> None:
    for folder, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        sample.main(["--out", str(tmp_path / folder), "--seed", seed])
    first, again, changed = (contents(tmp_path / folder) for folder in "abc")
    assert sorted(first) == sorted(NAMES)
    assert first == again
    assert all(first[name] != changed[name] for name in NAMES)
    # Only the finished files are left: each was written elsewhere and renamed.
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_are_plain_tab_separated_lines(name: str) -> None:
    raw = (COMMITTED / name).read_bytes()
    stem, split = next((s, p) for s in ROWS for p in SPLITS if name == f"{s}-{p}.csv")
    assert b"\r" not in raw and raw.endswith(b"\n")
    width = len((TEST_HEADERS if split == "test-student" else HEADERS)[stem])
    assert {line.count("\t") for line in raw.decode().splitlines()} == {width - 1}
    # A field is quoted only where it holds a quotation mark.
    fields = [field for line in raw.decode().splitlines() for field in line.split("\t")]
    assert all('""' in field for field in fields if field.startswith('"'))


@pytest.mark.parametrize("stem", ROWS)
def test_layout(stem: str) -> None:
    ids: list[str] = []
    for split, count in zip(SPLITS, ROWS[stem], strict=True):
        header, rows = read(stem, split)
        assert header == (TEST_HEADERS if split == "test-student" else HEADERS)[stem]
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
    assert [row[""] for row in read(stem, "dev")[1]] == [str(i) for i in range(ROWS[stem][1])]


@pytest.mark.parametrize("stem", ["quora", "sts"])
def test_pair_files_number_their_rows_at_random(stem: str) -> None:
    numbers = [int(row[""]) for split in SPLITS for row in read(stem, split)[1]]
    assert sorted(numbers) == list(range(sum(ROWS[stem])))
    assert numbers != sorted(numbers)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_labels_are_in_range_and_balanced(split: str) -> None:
    sst = Counter(labels("ids-sst", split))
    assert sorted(sst) == ["0", "1", "2", "3", "4"]
    assert 0.10 < min(sst.values()) / sst.total() <= max(sst.values()) / sst.total() < 0.30
    quora = Counter(labels("quora", split))
    assert sorted(quora) == ["0.0", "1.0"]
    assert quora["1.0"] / quora.total() == pytest.approx(0.37, abs=0.01)
    cfimdb = Counter(labels("ids-cfimdb", split))
    assert sorted(cfimdb) == ["0", "1"] and cfimdb["0"] == cfimdb["1"]
    sts = labels("sts", split)
    assert all(re.fullmatch(r"[0-4]\.\d|5\.0", label) for label in sts)
    bands = Counter(int(float(label) + 0.5) for label in sts)
    assert sorted(bands) == [0, 1, 2, 3, 4, 5]
    assert max(bands.values()) - min(bands.values()) <= 1


@pytest.mark.parametrize("stem", ROWS)
def test_no_text_occurs_twice(stem: str) -> None:
    seen = [text for split in SPLITS for text in texts(stem, split)]
    assert len(set(seen)) == len(seen)


def test_reviews_are_long() -> None:
    lengths = [len(row["sentence"].split()) for s in SPLITS for row in read("ids-cfimdb", s)[1]]
    assert 60 <= min(lengths) <= max(lengths) <= 150


def test_some_fields_need_quotes() -> None:
    assert any('"' in row["sentence1"] for row in read("quora", "train")[1])


def test_texts_are_tidy() -> None:
    for stem in ROWS:
        for split in SPLITS:
            for row in read(stem, split)[1]:
                for column in row.keys() & {"sentence", "sentence1", "sentence2"}:
                    text = row[column]
                    assert not re.search(r"[{}/]|\S  |  \S|\b[Aa] [aeiou]| [?\"]$", text), text


def test_sentiment_composes() -> None:
    """Of two opposites the second wins by a step, unless it is a "though"."""
    rng = sample.Random(0)
    bad, superb = sample.Phrase("a bad plot", -1), sample.Phrase("a superb cast", 2)
    for _ in range(20):
        joined = sample.joined(rng, bad, superb)
        assert joined.valence == (0 if "though" in joined.text else 1), joined.text
    assert sample.joined(rng, superb, superb).valence == 2


@pytest.mark.parametrize("seed", range(6))
def test_similarity_is_full_without_edits_and_none_with_all(seed: int) -> None:
    rng = sample.Random(seed)
    scene = sample.filled(rng, sample.SCENES[0])
    plain = {slot: concept.split("/")[0] for slot, concept in scene.items()}  # no synonyms left
    assert sample.edited(rng, plain, sample.SCENES[0], rate=0.0) == (plain, 50)
    assert sample.edited(rng, plain, sample.SCENES[0], rate=1.0)[1] == 0


def test_words_tell_the_sentiment() -> None:
    """A signed word count learnt from train beats the majority class on dev by far."""
    weights: Counter[str] = Counter()
    for row in read("ids-sst", "train")[1]:
        for word in set(row["sentence"].lower().split()):
            weights[word] += int(row["sentiment"]) - 2
    used = Counter(
        w for t in read("ids-sst", "train")[1] for w in set(t["sentence"].lower().split())
    )
    right = total = 0
    for row in read("ids-sst", "dev")[1]:
        if row["sentiment"] != "2":
            score = sum(
                weights[w] / used[w] for w in set(row["sentence"].lower().split()) if used[w]
            )
            right += (score > 0) == (int(row["sentiment"]) > 2)
            total += 1
    assert right / total > 0.65


@pytest.mark.parametrize(
    "argv",
    [["--seed", "x"], ["--see", "3"], ["extra"], ["--out", __file__]],
    ids=["not a number", "abbreviated", "positional", "not a folder"],
)
def test_bad_usage_exits_2_with_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sample.main(argv)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1


def test_running_out_of_texts_is_an_error() -> None:
    task = sample.Task(
        "one", "label", (1, 1, 1), (1,), lambda *_: sample.Example(("x",), "0"), False
    )
    with pytest.raises(RuntimeError, match="one: no new example of label 0"):
        list(sample.tables(task, seed=0))

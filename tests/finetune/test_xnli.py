"""XNLI: trained in one language, scored in others, from files of both kinds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from minbert.data.reading import read_split
from minbert.tasks import xnli
from minbert.tasks.glue import GLUE
from tests.finetune import glue_files
from tests.finetune.job.running import complaint, ids_predicted, make_place, manifest, run, written

LABELS = GLUE["mnli"].labels
HEADER = [
    *("language", "gold_label", "sentence1_binary_parse", "sentence2_binary_parse"),
    *("sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "promptID", "pairID"),
    *("genre", "label1", "label2", "label3", "label4", "label5"),
    *("sentence1_tokenized", "sentence2_tokenized", "match"),
]
Row = tuple[str, str, str]


def rows(language: str, count: int = 9) -> list[Row]:
    rng = random.Random(language)
    made = [(glue_files.sentence(rng), glue_files.sentence(rng)) for _ in range(count)]
    return [(one, two, LABELS[i % 3]) for i, (one, two) in enumerate(made)]


def write_apart(folder: Path, *languages: str, kinds: tuple[str, ...] = ("dev",)) -> None:
    """A file for each language, without a header."""
    folder.mkdir(exist_ok=True)
    for kind in kinds:
        for language in languages:
            lines = ["\t".join(row) + "\n" for row in rows(f"{kind}{language}")]
            (folder / f"{kind}-{language}.tsv").write_text("".join(lines))


def write_whole(folder: Path, *languages: str, kind: str = "dev") -> None:
    """The published file, whose languages stand one after the other."""
    folder.mkdir(exist_ok=True)
    lines = ["\t".join(HEADER)]
    for language in languages:
        for number, (one, two, label) in enumerate(rows(f"{kind}{language}"), start=1):
            known = {"language": language, "gold_label": label, "pairID": str(number)}
            cells = {**known, "sentence1": one, "sentence2": two}
            lines.append("\t".join(cells.get(column, "x") for column in HEADER))
    (folder / f"xnli.{kind}.tsv").write_text("\n".join(lines) + "\n")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_place(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["apart", "whole"])
def test_the_rows_of_every_language(tmp_path: Path, kind: str) -> None:
    languages = ("fr", "en", "zh")
    write_apart(tmp_path, "fr", kinds=("train",))
    for split in ("dev", "test"):
        if kind == "apart":
            write_apart(tmp_path, *languages, kinds=(split,))
        else:
            write_whole(tmp_path, *languages, kind=split)
    definition = xnli.definition("xnli-fr", tmp_path)
    task = definition.task()
    found = {
        "dev": "devfr",
        "dev_en": "deven",
        "dev_zh": "devzh",
        "dev_test_fr": "testfr",
        "dev_test_en": "testen",
        "dev_test_zh": "testzh",
        "train": "trainfr",
    }
    if kind == "whole":  # which knows no language that is not there, but lists all
        assert set(found) <= set(definition.files)
    else:
        assert set(definition.files) == set(found)
    for split, seed in found.items():
        examples = read_split(task, split, Path(definition.files[split])).examples
        expected = [(one, two, LABELS.index(label)) for one, two, label in rows(seed)]
        assert [(*example.texts, example.label) for example in examples] == expected


def test_a_run_scores_every_language(place: Path) -> None:
    write_apart(place / "xnli", "en", "de", "th")
    write_apart(place / "xnli", "en", kinds=("train",))
    argv = ("--option", "finetune", "--tasks", "xnli-en", "--xnli_dir", "xnli", "--epochs", "1")
    assert run(*argv, "--cross_encoder") == 0
    scores = manifest()["metrics"]["xnli-en"]
    assert list(scores) == ["dev", "dev_de", "dev_th"]
    files = written()
    assert set(files) == {f"finetune-xnli-en-{split}-out.csv" for split in scores}
    for content in files.values():
        assert ids_predicted(content) == [str(number) for number in range(1, 10)]


def test_english_trains_on_mnli(place: Path) -> None:
    glue_files.write(place / "glue", "mnli")
    write_whole(place / "xnli", *xnli.LANGUAGES)
    argv = ("--option", "finetune", "--tasks", "xnli-en", "--xnli_dir", "xnli", "--epochs", "1")
    assert run(*argv, "--glue_dir", "glue") == 0
    assert len(manifest()["metrics"]["xnli-en"]) == 15
    assert "mnli" not in manifest()["metrics"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--tasks", "xnli-en"), "--tasks xnli-en: give --xnli_dir"),
        (("--tasks", "xnli-en", "--xnli_dir", "nowhere"), "--xnli_dir nowhere: no such folder"),
        (("--tasks", "xnli-en", "--xnli_dir", "xnli"), "give --glue_dir for MNLI's"),
        (("--tasks", "xnli-de", "--xnli_dir", "xnli"), "train-de.tsv: no such file to train on"),
        (("--tasks", "xnli-fr", "--xnli_dir", "xnli"), "has neither dev-fr.tsv nor xnli.dev.tsv"),
        (("--tasks", "sst", "--xnli_dir", "xnli"), "a task of XNLI's in --tasks"),
    ],
)
def test_refusals(
    place: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], words: str
) -> None:
    write_apart(place / "xnli", "en", "de")
    write_apart(place / "xnli", "fr", kinds=("train",))
    assert run("--option", "finetune", *argv) == 2
    assert words in complaint(capsys)

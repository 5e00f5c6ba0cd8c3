"""GLUE's public files in miniature: the columns and quirks of each, few rows."""

from __future__ import annotations

import random
from pathlib import Path

from minbert.tasks.glue import GLUE, SUBMISSION

WORDS = ("the", "film", "plot", "is", "was", "not", "very", "good", "bad", "a", "man", "plays")


def sentence(rng: random.Random) -> str:
    text = " ".join(rng.choices(WORDS, k=rng.randint(3, 8)))
    return rng.choice(["", '" ', "'s "]) + text  # a mark that opens no quotation


def row(task: str, split: str, number: int, rng: random.Random) -> list[str]:
    """The cells of a row, as the public file of the task has them."""
    one, two = sentence(rng), sentence(rng)
    labels = GLUE[task].labels
    label = rng.choice(labels) if labels else f"{rng.uniform(0, 5):.3f}"
    index, test = str(number), split.startswith("test")
    if task == "cola":
        return [index, one] if test else ["gj04", label, rng.choice(["", "*"]), one]
    if task == "sst2":
        return [index, one] if test else [one, label]
    if task == "mrpc":
        cells = [str(rng.randint(1, 9999)), str(rng.randint(1, 9999)), one, two]
        return [index, *cells] if test else [label, *cells]
    if task == "qqp":
        return [index, one, two] if test else [index, "1", "2", one, two, label]
    if task == "stsb":
        cells = [index, "g", "f", "2012", "1", "s", "s", one, two]
        return cells if test else [*cells, label]
    if task == "mnli" and split != "test_ax":
        cells = [index, "1", "1", "fiction", "b", "b", "p", "p", one, two]
        extra = {"train": ["e"], "test": [], "test_mismatched": []}.get(split, ["e"] * 5)
        return [*cells, *extra] if test else [*cells, *extra, label]
    return [index, one, two] if test else [index, one, two, label]


HEADERS = {
    ("cola", "test"): "index sentence",
    ("sst2", "train"): "sentence label",
    ("sst2", "test"): "index sentence",
    ("mrpc", "train"): "Quality|#1 ID|#2 ID|#1 String|#2 String",
    ("mrpc", "test"): "index|#1 ID|#2 ID|#1 String|#2 String",
    ("qqp", "train"): "id qid1 qid2 question1 question2 is_duplicate",
    ("qqp", "test"): "id question1 question2",
    ("stsb", "train"): "index genre filename year old_index source1 source2 sentence1 sentence2"
    " score",
    ("stsb", "test"): "index genre filename year old_index source1 source2 sentence1 sentence2",
    ("mnli", "train"): "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse"
    " sentence1_parse sentence2_parse sentence1 sentence2 label1 gold_label",
    ("mnli", "dev"): "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse"
    " sentence1_parse sentence2_parse sentence1 sentence2 label1 label2 label3 label4 label5"
    " gold_label",
    ("mnli", "test"): "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse"
    " sentence1_parse sentence2_parse sentence1 sentence2",
    ("mnli", "test_ax"): "index sentence1 sentence2",
    ("qnli", "train"): "index question sentence label",
    ("qnli", "test"): "index question sentence",
    ("rte", "train"): "index sentence1 sentence2 label",
    ("rte", "test"): "index sentence1 sentence2",
}


def header(task: str, split: str) -> list[str]:
    """The names of the columns; none for CoLA's train and dev files."""
    task = "rte" if task == "wnli" else task
    if task == "cola" and split != "test":
        return []
    kind = split.partition("_")[0]
    named = HEADERS.get((task, split)) or HEADERS.get((task, kind)) or HEADERS[task, "train"]
    return named.split("|") if "|" in named else named.split()


def write(
    folder: Path, task: str, *, rows: int = 12, test_rows: int | None = None, seed: int = 0
) -> None:
    """The files of one task; `test_rows` None leaves the test files out, -1 has them whole."""
    rng = random.Random(f"{task} {seed}")
    usual = {split: f"{GLUE[task].folder}/{split}.tsv" for split in ("train", "dev", "test")}
    due = {d.split: d.rows for d in SUBMISSION.values() if d.task == task}
    for split, name in (GLUE[task].files or usual).items():
        count = rows
        if split.startswith("test"):
            if test_rows is None:
                continue
            count = due[split] if test_rows < 0 else test_rows
        lines = [header(task, split)] if header(task, split) else []
        lines += [row(task, split, number, rng) for number in range(count)]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join("\t".join(cells) + "\n" for cells in lines)
        mark = "\ufeff" if task == "mrpc" else ""
        path.write_text(mark + text, encoding="utf-8")


def cells_of(path: Path) -> list[list[str]]:
    """A file split at line ends and tabs alone."""
    return [line.split("\t") for line in path.read_text("utf-8-sig").rstrip("\n").split("\n")]

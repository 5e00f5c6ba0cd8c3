"""The rows of the four data sets, split so that dev and test hold words and productions back.

Each example is drawn for a label, so that the labels have the shares of the real sets. A third of
dev and test take something that is held out; train never does. Then noise is added to the label, in
all three splits alike. No text occurs twice in a task.
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

from minbert.sample import noise
from minbert.sample.draw import ExampleDraw, quota, shuffled
from minbert.sample.questions import question_pair
from minbert.sample.reviews import review, sentence_of
from minbert.sample.similarity import scene_pair

SPLITS = ("train", "dev", "test-student")
NOVEL = (2, 1)  # familiar and novel examples of dev and test
PATIENCE = 20_000  # draws
RowRecipe = Callable[[ExampleDraw, int], tuple[tuple[str, ...], float]]  # label -> texts, truth


class SampleRow(NamedTuple):
    """A row of a file, with its label before noise and what it was made of, which no file tells."""

    texts: tuple[str, ...]
    truth: float  # the label before noise
    label: str
    entries: tuple[str, ...]  # taken from word lists
    productions: tuple[str, ...]
    novel: bool


class SampleTask(NamedTuple):
    """The recipe of one task's three files."""

    stem: str
    label: str  # name of the column
    rows: tuple[int, int, int]
    shares: tuple[int, ...]  # of the rows, for each label
    draw: RowRecipe
    spell: Callable[[Random, float], str]
    pair: bool


def _one_text(write: Callable[[ExampleDraw, int], str]) -> RowRecipe:
    # the course's sentences begin with a space
    return lambda draw, label: ((" " + write(draw, label),), label)


# The shares are about those of the real sets.
TASKS = (
    SampleTask(
        "ids-sst", "sentiment", (2000, 500, 500), (13, 26, 19, 27, 15), _one_text(sentence_of),
        noise.neighbour, pair=False,
    ),
    SampleTask(
        "quora", "is_duplicate", (2400, 800, 800), (63, 37),
        lambda draw, label: (question_pair(draw, label), label), noise.flipped, pair=True,
    ),
    SampleTask(
        "sts", "similarity", (640, 400, 400), (10, 13, 19, 23, 22, 13), scene_pair, noise.rated,
        pair=True,
    ),
    SampleTask(
        "ids-cfimdb", "sentiment", (240, 80, 80), (1, 1), _one_text(review), noise.misread,
        pair=False,
    ),
)  # fmt: skip


def examples(task: SampleTask, seed: int) -> Iterator[tuple[str, list[SampleRow]]]:
    """Yield the name and the rows of each split."""
    rng, seen = Random(f"{seed}/{task.stem}"), set[str]()
    for split, count in zip(SPLITS, task.rows, strict=True):
        labels = quota(rng, task.shares, count)
        novel = [False] * count if split == "train" else [n == 1 for n in quota(rng, NOVEL, count)]
        pairs = zip(labels, novel, strict=True)
        yield split, [fresh(rng, task, label, new, seen) for label, new in pairs]


def fresh(rng: Random, task: SampleTask, label: int, novel: bool, seen: set[str]) -> SampleRow:
    """Draw a row whose texts are not in `seen`. Raises RuntimeError where none is left."""
    for _ in range(PATIENCE):
        draw = ExampleDraw(rng, novel)
        texts, truth = task.draw(draw, label)
        keys = {" ".join(re.findall(r"\w+", text.lower())) for text in texts}
        if bool(draw.held) == novel and len(keys) == len(texts) and keys.isdisjoint(seen):
            seen |= keys
            spelled = task.spell(rng, truth)
            taken = tuple(draw.entries), tuple(draw.productions)
            return SampleRow(texts, truth, spelled, *taken, novel)
    raise RuntimeError(f"{task.stem}: no new example of label {label} in {PATIENCE} draws")


def lines(task: SampleTask, split: str, rows: Sequence[SampleRow], seed: int) -> list[list[str]]:
    """Return a split's lines as the course's files have them, header first."""
    name, test = f"{task.stem}-{split}.csv", split == "test-student"
    odd = test and not task.pair  # test sentences have two numbers
    columns = ["", "id", *(["sentence1", "sentence2"] if task.pair else ["sentence"])]
    table = [["0", *columns] if odd else columns if test else [*columns, task.label]]
    numbers = _numbers(task, split, seed)
    for i, example in enumerate(rows):
        number = [str(i + 1), f"{i}.0"] if odd else [str(numbers[i])]
        identity = hashlib.sha256(f"{seed}/{name}/{i}".encode()).hexdigest()[:25]
        table.append([*number, identity, *example.texts, *([] if test else [example.label])])
    return table


def _numbers(task: SampleTask, split: str, seed: int) -> Sequence[int]:
    """Return the numbers of a split's rows: of pairs at random over the task, else in order."""
    if not task.pair:
        return range(max(task.rows))
    numbers = shuffled(Random(f"{seed}/{task.stem}/numbers"), range(sum(task.rows)))
    return numbers[sum(task.rows[: SPLITS.index(split)]) :]


def spelled(table: list[list[str]]) -> str:
    """Return lines as tab-separated text."""
    text = io.StringIO()
    csv.writer(text, delimiter="\t", lineterminator="\n").writerows(table)
    return text.getvalue()

"""A finished run as a function: a task and texts go in, answers come out.

    from minbert.predict import load

    ask = load("runs/NAME")
    ask("sst", ["a fine film", "a dull one"])
    ask("sts", [("a man sings", "a woman sings")])

Texts take the way of the run's own prediction files: its tokenizer, its limit, its scoring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minbert.data.batches import Dataset
from minbert.data.examples import Split
from minbert.finetune.build_data import encoded
from minbert.finetune.evaluate import encode_texts, score_logits
from minbert.finetune.trained import TrainedRun, read_run
from minbert.support.errors import InputError
from minbert.tasks.answers import Answer, answers
from minbert.tasks.task import Task

Texts = str | Sequence[str] | Sequence[Sequence[str]]


def load(run: str | Path, device: str = "auto") -> Predictor:
    """A finished run by its folder, ready to be asked.

    Raises InputError, in a line that says what to do, where there is no such run, or it has not
    finished, or its weights are gone.
    """
    return Predictor(read_run(Path(run), device))


@dataclass(frozen=True)
class Predictor:
    """A run that answers. Call it with a task and texts."""

    run: TrainedRun

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks that have a head, by name; those of `trained` have learned something."""
        return {name: self.run.config.task(name) for name in self.run.config.evaluated_tasks}

    @property
    def trained(self) -> tuple[str, ...]:
        """The names of the tasks that the run trained on."""
        return self.run.config.trained_tasks

    def __call__(self, task: str, texts: Texts) -> list[Answer]:
        """The answers to one task, in the order of the texts.

        A task of one text takes a text or several; a task of two takes a pair or several pairs.
        Raises InputError for a task that the run does not know, and for another number of texts.
        """
        known = self.run.task(task)
        rows = as_rows(known, texts)
        return list(self.answers([known], Split.of(known, rows))[0]) if rows else []

    def answers(self, tasks: Sequence[Task], split: Split) -> list[Iterator[Answer]]:
        """Each task's answers to the examples of a split, which is read for one of them.

        All of them take the same texts, which go through the encoder once.
        """
        dataset = encoded(self.run.config, split, self.run.tokenizer)
        with_vectors = self._with_vectors(dataset, str(split.path))
        return [self._answers(replace(with_vectors, task=task), split) for task in tasks]

    def _with_vectors(self, dataset: Dataset, title: str) -> Dataset:
        return dataset.with_features(encode_texts(self.run.model, dataset, title))

    def _answers(self, dataset: Dataset, split: Split) -> Iterator[Answer]:
        logits = score_logits(self.run.model, dataset, dataset.task.name)
        return answers(dataset.task, (example.texts for example in split.examples), logits)


def as_rows(task: Task, texts: Texts) -> list[tuple[str, ...]]:
    """One text, several, a pair or several pairs as the rows of a task.

    Half a character becomes a question mark, as it does in files. Raises InputError where they do
    not make whole rows of texts.
    """
    width = len(task.text_columns)
    given: list[str | Sequence[str]] = [texts] if isinstance(texts, str) else list(texts)
    if all(isinstance(text, str) for text in given):  # laid end to end
        flat = [str(text) for text in given]
        if len(flat) % width:
            raise _wrong_number(task, len(flat))
        rows = [tuple(flat[at : at + width]) for at in range(0, len(flat), width)]
    else:
        rows = [(text,) if isinstance(text, str) else tuple(text) for text in given]
    for row in rows:
        if len(row) != width or not all(isinstance(text, str) for text in row):
            raise _wrong_number(task, len(row))
    return [tuple(text.encode("utf-8", "replace").decode() for text in row) for row in rows]


def _wrong_number(task: Task, count: int) -> InputError:
    needed = "two texts, or pairs of them," if task.is_pair else "single texts"
    return InputError(f"{task.name}: takes {needed} and got {count}")

"""A task that a user describes, of the kinds that the course's tasks are.

`Definition` is what the description says, checked; `task_file.py` reads it from a file. `task()`
makes an entry of it, like those in `course.py`. Loss and divergence follow the kind: `classes` has
those of SST, `binary` those of Quora, `regression` those of STS. The head of a pair's class is
Quora's, that of a pair's number is STS's. FreeLB's numbers are those of SST for one text, of Quora
for two, of STS for a number.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from minbert.tasks import heads, losses
from minbert.tasks.course import QUORA, SST, STS, TOP_SIMILARITY
from minbert.tasks.labels import LABEL_BYTES, above_half, largest, name_label, score_within
from minbert.tasks.metrics import ACCURACY, F1, MATTHEWS, PEARSON, SPEARMAN, Metric
from minbert.tasks.task import Array, Task

CLASSES, BINARY, REGRESSION = KINDS = ("classes", "binary", "regression")
_OF_CLASSES = {"accuracy": ACCURACY, "f1": F1, "matthews": MATTHEWS}
METRICS: Mapping[str, Mapping[str, Metric]] = {  # the first is the default
    CLASSES: _OF_CLASSES,
    BINARY: _OF_CLASSES,
    REGRESSION: {"pearson": PEARSON, "spearman": SPEARMAN},
}
_DELIMITERS = ("", ",", "\t", ";", "|")
_YES_OR_NO = ("0", "1")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_SPLIT = re.compile(r"train|(dev|test)(_[a-z0-9_]+)?")


@dataclass(frozen=True)
class Definition:
    """What a user says of a task. Raises ValueError where that makes no task.

    `labels` name the classes in order; of two the second is the one that F1 is about. Without any
    a task of classes has those of its train file (`data/own_labels.py`). In `range` the labels of a
    regression lie. Of several metrics the first decides. Without an `id` rows are known by their
    column `id` or, where there is none, by their numbers; so are they with an `id` that is missing,
    if they are `numbered`. `columns` are those of files without a header. Of a split that `parts`
    names, the rows count whose column `part` has this value, if there is such a column.
    """

    name: str
    kind: str
    texts: tuple[str, ...]
    label: str
    files: Mapping[str, str] = field(hash=False)
    labels: tuple[str, ...] = ()
    range: tuple[float, ...] = ()
    metric: tuple[str, ...] = ()
    title: str = ""
    id: str = ""
    numbered: bool = False
    quotes: bool = True
    delimiter: str = ""
    columns: tuple[str, ...] = ()
    part: str = ""
    parts: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")
        if not 1 <= len(self.texts) <= 2:
            raise ValueError(f"texts names {len(self.texts)} columns, not one or two")
        columns = [*self.texts, self.label, *([self.id] if self.id else [])]
        if "" in columns or len(set(columns)) < len(columns):
            raise ValueError(f"columns {', '.join(columns)}: each needs a name of its own")
        for metric in self.metric:
            if metric not in METRICS[self.kind]:
                known = ", ".join(METRICS[self.kind])
                raise ValueError(f"metric {metric!r}: of {self.kind} there is: {known}")
        if "f1" in self.metric and len(self.labels or _YES_OR_NO) != 2:
            raise ValueError("metric 'f1' is that of the second of two labels")
        _check_layout(self)
        _check_labels(self)
        _check_range(self)
        _check_files(self.files)

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides a run's result beside the contents of the files."""
        places = ("title", "files")
        return {name: value for name, value in asdict(self).items() if name not in places}

    @property
    def _default(self) -> tuple[str, ...]:
        return tuple(METRICS[self.kind])[:1]

    def as_json(self) -> str:
        """The definition in one line, which `task_file.read` takes in place of the file's path."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def task(self) -> Task:
        """The task: an entry as those in `course.py`."""
        is_pair = len(self.texts) == 2
        like = STS if self.kind == REGRESSION else QUORA if is_pair else SST
        return Task(
            name=self.name,
            title=self.title or self.name,
            subject=self.name,
            files=self.files,
            text_columns=self.texts,
            label_column=self.label,
            prediction_column=f"Predicted_{self.name}",
            metrics=tuple(METRICS[self.kind][name] for name in self.metric or self._default),
            quotes=self.quotes,
            delimiter=self.delimiter or None,
            id_column=self.id or "id",
            numbered=self.numbered or not self.id,
            columns=self.columns,
            part=self.part,
            parts=self.parts,
            relational=is_pair,
            freelb_init=like.freelb_init,
            freelb_radius=like.freelb_radius,
            **_BY_KIND[self.kind](self, is_pair),
        )


def _check_name(name: str) -> None:
    """Raise ValueError for a name that no file, flag or head can have."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"name {name!r} is not up to 40 letters, digits, _ and -")
    if name.lower() == "overall" or hasattr(nn.ModuleDict(), name):  # heads are its attributes
        raise ValueError(f"name {name!r} has a meaning of its own; take another name")


def _check_layout(wanted: Definition) -> None:
    if wanted.delimiter not in _DELIMITERS:
        raise ValueError(f"delimiter {wanted.delimiter!r} is no comma, tab, semicolon or bar")
    if wanted.parts and not wanted.part:
        raise ValueError("parts needs part, the column that tells them apart")
    if unknown := sorted(wanted.parts.keys() - wanted.files.keys()):
        raise ValueError(f"parts names {', '.join(unknown)}, which files does not")
    needed = {*wanted.texts, wanted.label}
    if wanted.columns and (lacks := sorted(needed - {*wanted.columns})):
        raise ValueError(f"columns names no {', '.join(lacks)}")
    if len(set(wanted.columns)) < len(wanted.columns):
        raise ValueError("columns names a column twice")


def _check_labels(wanted: Definition) -> None:
    if wanted.kind == REGRESSION:
        if wanted.labels:
            raise ValueError("labels are for classes; a regression has a range, as in [1, 5]")
    elif wanted.kind == BINARY and len(wanted.labels) not in (0, 2):
        raise ValueError(f"labels names {len(wanted.labels)}: kind binary has two")
    elif wanted.kind == CLASSES and len(wanted.labels) == 1:
        raise ValueError("labels names 1: kind classes has two or more")
    if len(set(wanted.labels)) < len(wanted.labels):
        raise ValueError("labels names a label twice")
    for label in wanted.labels:
        odd = label != label.strip() or not label or not label.isprintable()
        if odd or len(label.encode()) > LABEL_BYTES:
            raise ValueError(f"label {label[:40]!r}: blanks around it, no text, or too long a text")


def _check_range(wanted: Definition) -> None:
    if wanted.kind != REGRESSION:
        if wanted.range:
            raise ValueError(f"range is for a regression, not for {wanted.kind}")
    elif len(wanted.range) != 2 or not wanted.range[0] < wanted.range[1]:
        wrong = f"range is {list(wanted.range)}: " if wanted.range else ""
        raise ValueError(
            f"{wrong}regression needs the lowest and the highest label, as in range = [1, 5]"
        )


def _check_files(files: Mapping[str, str]) -> None:
    for split in files:
        if _SPLIT.fullmatch(split) is None:
            raise ValueError(f"files.{split} is none of train, dev, test, dev_NAME, test_NAME")
    if missing := [split for split in ("train", "dev") if split not in files]:
        raise ValueError(f"files names no {' and no '.join(missing)} file")


def _classes(wanted: Definition, is_pair: bool) -> dict[str, Any]:
    count = len(wanted.labels)
    return {
        "labels": wanted.labels,
        "parse_label": name_label(wanted.labels),
        "num_outputs": count,
        "loss": losses.cross_entropy,
        "divergence": losses.symmetric_kl,
        "decode": largest,
        "pair_head": _difference(count) if is_pair else None,
    }


def _binary(wanted: Definition, is_pair: bool) -> dict[str, Any]:
    labels = wanted.labels or _YES_OR_NO
    return {
        "labels": labels,
        "parse_label": name_label(labels, {} if wanted.labels else {"false": 0, "true": 1}),
        "num_outputs": 1,
        "loss": losses.binary_cross_entropy,
        "divergence": losses.symmetric_kl_bernoulli,
        "decode": above_half,
        "pair_head": _difference(1) if is_pair else None,
    }


def _regression(wanted: Definition, is_pair: bool) -> dict[str, Any]:
    """Outputs lie on STS's scale, 0..5, whatever the labels' is: rates and radii fit that one."""
    low, high = wanted.range
    unit = (high - low) / TOP_SIMILARITY

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return losses.squared_error(logits, (labels - low) / unit)

    def decode(logits: Array) -> Array:
        return (low + unit * logits[:, 0].clip(0, TOP_SIMILARITY)).clip(low, high)

    return {
        "parse_label": score_within(low, high),
        "num_outputs": 1,
        "loss": loss,
        "divergence": losses.squared_distance,
        "decode": decode,
        "pair_head": STS.pair_head if is_pair else None,
        "top": TOP_SIMILARITY,
    }


def _difference(outputs: int) -> Callable[[int], nn.Module]:
    return lambda hidden_size: heads.DifferenceHead(hidden_size, outputs)


_BY_KIND: Mapping[str, Callable[[Definition, bool], dict[str, Any]]] = {
    CLASSES: _classes,
    BINARY: _binary,
    REGRESSION: _regression,
}

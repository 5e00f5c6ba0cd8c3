"""What a task is made of. Every task is one `Task`, listed in `registry.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from minbert.tasks.metrics import Metric

Array = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """A task. Dimensions: B examples, k outputs, V texts an example (1 or 2).

    `files` gives each split its default file name. One split is `train`, one is `dev`, by which the
    best epoch is chosen; there may be more to score and predict, such as `dev_other` and `test`.
    """

    name: str
    title: str  # in reports
    subject: str  # in a word, for --help
    files: Mapping[str, str]
    text_columns: tuple[str, ...]
    label_column: str
    parse_label: Callable[[str], float]  # ValueError says what is wrong
    num_outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]  # logits (B, k), labels (B,) -> mean
    divergence: Callable[[Tensor, Tensor], Tensor]  # logits (B, k) twice -> mean
    decode: Callable[[Array], Array]  # logits (B, k) -> predictions (B,)
    metrics: tuple[Metric, ...]  # the first decides
    prediction_column: str  # in the header of prediction files
    labels: tuple[str, ...] = ()  # what files call the classes, unless it is 0, 1, ...
    quotes: bool = True  # whether a quotation mark in its files quotes, as in Python's csv
    delimiter: str | None = "\t"  # of its files; None: each file's first line shows it
    id_column: str = "id"
    numbered: bool = False  # whether the rows of a file without that column are their numbers
    columns: tuple[str, ...] = ()  # of files that have no header
    part: str = ""  # a column by which a file is parted among splits
    parts: Mapping[str, str] = field(default_factory=dict)  # its value in the rows of a split
    # hidden size -> head over the two texts' vectors; None for tasks of one text
    pair_head: Callable[[int], nn.Module] | None = None
    label_names: tuple[str, ...] = ()  # what people call the classes, unless it is as in files
    top: float | None = None  # labels of a regression lie in 0..top; None for classes
    relational: bool = False  # whether a relational layer may stand before its head
    freelb_init: float | None = None  # magnitude of FreeLB's random start
    freelb_radius: float | None = None  # radius of FreeLB's ball (Frobenius norm)
    freelb_lr: float | None = None  # FreeLB's ascent step, and passes, of `--recipe freelb`
    freelb_steps: int | None = None
    in_course_mix: bool = False  # one of the course's multitask job, scored whatever trains
    other_names: tuple[str, ...] = ()  # what people's prediction files call it, too
    other_columns: tuple[str, ...] = ()  # further spellings of `prediction_column`
    ceiling: float | None = None  # a score above which the grader asks how it came about

    def __post_init__(self) -> None:
        if self.is_pair and self.pair_head is None:
            raise ValueError(f"{self.name}: two texts need a pair_head, or one of them is not read")

    @property
    def center(self) -> float:
        """Where the outputs of a linear head start: the middle of a regression's labels."""
        return 0.0 if self.top is None else self.top / 2

    def on_scale(self, top: float) -> "Task":
        """This regression, trained as if its labels lay in 0..`top`; outputs and scores stay.

        Its loss and divergence are squares, so both are multiplied by the square of the ratio.
        """
        assert self.top is not None
        factor, loss, divergence = (top / self.top) ** 2, self.loss, self.divergence
        return replace(
            self,
            loss=lambda logits, labels: factor * loss(logits, labels),
            divergence=lambda first, second: factor * divergence(first, second),
        )

    @property
    def metric(self) -> Callable[[Array, Array], float]:
        """The score that decides, of predictions and labels."""
        return self.metrics[0].score

    @property
    def metric_name(self) -> str:
        """The name of the score that decides."""
        return self.metrics[0].name

    @property
    def is_correlation(self) -> bool:
        """Whether predictions are numbers, whose correlation with the labels decides."""
        return self.top is not None

    @property
    def near_identical(self) -> float:
        """The agreement, kappa or r, of two submissions that are near-identical.

        Seeds of one recipe stay below it.
        """
        return 0.999 if self.is_correlation else 0.97

    @property
    def is_pair(self) -> bool:
        """Whether an example has two texts."""
        return len(self.text_columns) == 2

    @property
    def head_has_weights(self) -> bool:
        """Whether there is anything to train in its own head: a cosine has no weights."""
        return self.pair_head is None or any(True for _ in self.pair_head(1).parameters())

    @property
    def scored_splits(self) -> tuple[str, ...]:
        """The splits that are scored and predicted: every dev and every test file."""
        return tuple(split for split in self.files if kind_of(split) != "train")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, which are their numbers where it gives none; none if scores."""
        if self.top is not None:
            return ()
        return self.label_names or self.labels or tuple(map(str, range(max(2, self.num_outputs))))

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest score of a regression: what its outputs 0 and `top` mean."""
        low, high = self.decode(np.array([[0.0], [self.top or 0.0]]))
        return float(low), float(high)

    def rows_of(self, split: str) -> tuple[str, str] | None:
        """The column, and its value, in the rows of a file that are this split's; None for all."""
        return (self.part, self.parts[split]) if split in self.parts else None

    def spelled(self, prediction: Any) -> str:
        """A prediction as files spell it."""
        return self.labels[int(prediction)] if self.labels else str(prediction)

    def points(self, score: float) -> float:
        """The share of a score in the course's 2024 overall."""
        return self.metrics[0].points(score)


def kind_of(split: str) -> str:
    """What a split is for: `train`, `dev` or `test`, the part of its name before a `_`."""
    return split.partition("_")[0]

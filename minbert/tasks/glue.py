"""GLUE's tasks (Wang et al. 2019) in its public files, and what its leaderboard takes.

The files are read as they are: parted at tabs alone, as quotation marks mean nothing in them. Each
task becomes a `Definition`, as a user's own does. Some files have no header, and some no column of
ids; their rows are numbered then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minbert.tasks.own import CLASSES, REGRESSION, Definition

_YES_NO = ("0", "1")
_ENTAILS = ("entailment", "not_entailment")
_NLI = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Entry:
    """A task of GLUE: its folder, columns, labels and scores; `more` are files beside three."""

    folder: str
    title: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...] = ()
    metric: tuple[str, ...] = ("accuracy",)
    id: str = "index"
    columns: tuple[str, ...] = ()
    files: Mapping[str, str] | None = None

    def definition(self, name: str, directory: Path) -> Definition:
        """The task as the files below `directory` have it; what is absent of tests is left out."""
        usual = {split: f"{self.folder}/{split}.tsv" for split in ("train", "dev", "test")}
        paths = {split: directory / path for split, path in (self.files or usual).items()}
        due = ("train", "dev")
        return Definition(
            name=name,
            kind=CLASSES if self.labels else REGRESSION,
            texts=self.texts,
            label=self.label,
            files={s: str(path) for s, path in paths.items() if s in due or path.is_file()},
            labels=self.labels,
            range=() if self.labels else (0.0, 5.0),
            metric=self.metric,
            title=self.title,
            id=self.id,
            numbered=True,
            quotes=False,
            delimiter="\t",
            columns=self.columns,
        )


_PAIR = ("sentence1", "sentence2")
_MNLI = {
    "train": "MNLI/train.tsv",
    "dev": "MNLI/dev_matched.tsv",
    "dev_mismatched": "MNLI/dev_mismatched.tsv",
    "test": "MNLI/test_matched.tsv",
    "test_mismatched": "MNLI/test_mismatched.tsv",
    "test_ax": "diagnostic/diagnostic.tsv",  # scored by the leaderboard on MNLI's model
}
GLUE: Mapping[str, Entry] = {
    "cola": Entry(
        "CoLA",
        "CoLA",
        ("sentence",),
        "label",
        _YES_NO,
        ("matthews",),
        columns=("source", "label", "mark", "sentence"),
    ),
    "sst2": Entry("SST-2", "SST-2", ("sentence",), "label", _YES_NO),
    "mrpc": Entry(
        "MRPC", "MRPC", ("#1 String", "#2 String"), "Quality", _YES_NO, ("accuracy", "f1")
    ),
    "stsb": Entry("STS-B", "STS-B", _PAIR, "score", (), ("pearson", "spearman")),
    "qqp": Entry(
        "QQP",
        "QQP",
        ("question1", "question2"),
        "is_duplicate",
        _YES_NO,
        ("accuracy", "f1"),
        id="id",
    ),
    "mnli": Entry("MNLI", "MNLI", _PAIR, "gold_label", _NLI, files=_MNLI),
    "qnli": Entry("QNLI", "QNLI", ("question", "sentence"), "label", _ENTAILS),
    "rte": Entry("RTE", "RTE", _PAIR, "label", _ENTAILS),
    "wnli": Entry("WNLI", "WNLI", _PAIR, "label", _YES_NO),
}


@dataclass(frozen=True)
class Due:
    """A file that the leaderboard wants: which predictions, how many, and their commonest."""

    task: str
    split: str
    rows: int
    commonest: str


# rows: the leaderboard's test sets (Wang et al. 2019, table 1; the diagnostic set's 1,104)
SUBMISSION: Mapping[str, Due] = {
    "CoLA.tsv": Due("cola", "test", 1_063, "1"),
    "SST-2.tsv": Due("sst2", "test", 1_821, "1"),
    "MRPC.tsv": Due("mrpc", "test", 1_725, "1"),
    "STS-B.tsv": Due("stsb", "test", 1_379, "2.500"),
    "MNLI-m.tsv": Due("mnli", "test", 9_796, "entailment"),
    "MNLI-mm.tsv": Due("mnli", "test_mismatched", 9_847, "entailment"),
    "QNLI.tsv": Due("qnli", "test", 5_463, "entailment"),
    "QQP.tsv": Due("qqp", "test", 390_965, "0"),
    "RTE.tsv": Due("rte", "test", 3_000, "entailment"),
    "WNLI.tsv": Due("wnli", "test", 146, "0"),
    "AX.tsv": Due("mnli", "test_ax", 1_104, "entailment"),
}

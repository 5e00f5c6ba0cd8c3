"""The main job's flags that say which examples it reads; `flags.py` has the other groups."""

from dataclasses import dataclass

from minbert.finetune.flags import DATA
from minbert.support.flags import AT_LEAST_ONE, NOT_NEGATIVE, Limit, When, flag
from minbert.tasks.glue import GLUE

_LITTLE = When(lambda c: c.limit_train is not None, "--limit_train")


@dataclass(frozen=True)
class DataFlags:
    """Where the examples come from."""

    data_dir: str | None = flag(
        None,
        DATA,
        "folder in which the default file names are looked up (a named file wins); default: data/ "
        "if the course's files are there, else the bundled synthetic sample",
        metavar="FOLDER",
    )
    glue_dir: str | None = flag(
        None,
        DATA,
        f"folder of GLUE's public files, for --tasks {','.join(GLUE)} (docs/glue.md)",
        metavar="FOLDER",
        acts=[
            When(
                lambda c: bool(c.glue_tasks or "xnli-en" in c.xnli_tasks),
                "a task of GLUE's, or xnli-en, in --tasks",
            )
        ],
    )
    xnli_dir: str | None = flag(
        None,
        DATA,
        "folder of XNLI's files, for --tasks xnli-en, ...: trained in one language, scored in all",
        metavar="FOLDER",
        acts=[When(lambda c: bool(c.xnli_tasks), "a task of XNLI's in --tasks")],
    )
    strict: bool = flag(False, DATA, "stop at bad rows instead of reporting them and going on")
    limit: int | None = flag(
        None,
        DATA,
        "use N rows of every file, drawn at random, the same for every seed",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    limit_rows: str = flag(
        "drawn",
        DATA,
        "drawn: at random from the whole file; first: the file's first N rows, which is quicker, "
        "but files may be sorted by label",
        choices=("drawn", "first"),
        acts=[When(lambda c: c.limit is not None, "--limit")],
    )
    limit_train: int | None = flag(
        None,
        DATA,
        "train on N rows of every train file, drawn at random, the same for every seed; scored on "
        "whole dev files: little data",
        limit=AT_LEAST_ONE,
        metavar="N",
        acts=[
            When(
                lambda c: c.limit is None or (c.limit_train or 0) < c.limit,
                "a --limit above it, or none",
            )
        ],
    )
    limit_train_seed: int = flag(
        0,
        DATA,
        "which rows --limit_train draws; another number draws others, for every --seed alike",
        limit=NOT_NEGATIVE,
        metavar="N",
        acts=[_LITTLE],
    )
    dev_rows: str = flag(
        "file",
        DATA,
        "which rows the dev scores are of: file, those of the dev files; rest, the train rows "
        "that --limit_train leaves out, which are many more",
        choices=("file", "rest"),
        acts=[_LITTLE, When(lambda c: c.dev_only, "--dev_only: these rows are not for handing in")],
    )
    dev_only: bool = flag(
        False,
        DATA,
        "score the tasks that train on their dev sets, and read, score and predict nothing else",
    )
    max_length: int | None = flag(
        None,
        DATA,
        "longest input in tokens, [CLS] and [SEP] included; longer ones are cut and counted; "
        "default: as many positions as the encoder has",
        limit=Limit(lambda n: n >= 5, "5 or more"),
        metavar="TOKENS",
    )

"""The flags of `python -m minbert.predict`."""

from dataclasses import dataclass

from minbert.support import shared_flags
from minbert.support.errors import InputError
from minbert.support.flags import When, check_values, flag

_QUESTION, _ANSWER = "what is asked", "the answer"


@dataclass(frozen=True)
class PredictConfig:
    """What is asked of a run, and where the answers go. Raises InputError for what contradicts."""

    task: tuple[str, ...] | None = flag(
        None,
        _QUESTION,
        "tasks to answer; default: those that the run trained on and that take so many texts",
        metavar="TASK[,TASK...]",
    )
    file: str | None = flag(
        None,
        _QUESTION,
        "rows to answer, in place of texts: .csv, .tsv or .jsonl, or - for what comes in on stdin. "
        "A header, or the keys of the JSON objects, names the columns",
        metavar="FILE|-",
    )
    columns: tuple[str, ...] | None = flag(
        None,
        _QUESTION,
        "columns of the file that hold the texts; default: as in the files of the task",
        metavar="COLUMN[,COLUMN]",
        acts=[When(lambda c: c.file is not None, "--file")],
    )
    out: str | None = flag(
        None,
        _ANSWER,
        "write the answers there, as JSON lines, or as CSV where the name ends in .csv; default: "
        "stdout, as a table on a terminal and as JSON lines elsewhere",
        metavar="FILE",
    )
    device: str = shared_flags.device(_ANSWER)

    def __post_init__(self) -> None:
        check_values(self)
        if self.columns is not None and len(self.columns) not in (1, 2):
            raise InputError(f"--columns {','.join(self.columns)}: name one column or two")

"""The flags of `python -m minbert.export`."""

from dataclasses import dataclass

from minbert.export.forms import SENTENCES, TRANSFORMERS
from minbert.support.errors import InputError
from minbert.support.flags import check_values, flag

_WHAT = "what is exported"


@dataclass(frozen=True)
class ExportConfig:
    """What is exported, for which library. Raises InputError for values that are none."""

    to: str | None = flag(
        None,
        _WHAT,
        f"for which library: {TRANSFORMERS} gets a folder for each task, with encoder and head; "
        f"{SENTENCES} gets the vectors of texts, and their cosine",
        choices=(TRANSFORMERS, SENTENCES),
    )
    task: tuple[str, ...] | None = flag(
        None,
        _WHAT,
        "tasks whose heads must be exported; default: those that the run trained on and that the "
        "library can hold",
        metavar="TASK[,TASK...]",
    )

    def __post_init__(self) -> None:
        check_values(self)
        if self.to is None:
            raise InputError(f"--to is missing: name {TRANSFORMERS} or {SENTENCES}")

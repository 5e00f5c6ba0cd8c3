"""`FaultsConfig`: how many faults are injected, and where; a field is a flag."""

from dataclasses import dataclass

from minbert.finetune.config import RunConfig
from minbert.support.flags import AT_LEAST_ONE, check_values, flag, same_flag

_WHAT, _FILES = "what is injected", "files to write"


@dataclass(frozen=True)
class FaultsConfig:
    """Which injections are played, and where what is found is written."""

    quick: bool = flag(False, _WHAT, "17 injections instead of all: a minute, not an hour")
    only: tuple[str, ...] = flag(
        (), _WHAT, "these classes of faults alone", metavar="CLASS", several=True
    )
    seed: int = same_flag(RunConfig, "seed", _WHAT)
    limit: int | None = flag(
        None, _WHAT, "stop after so many more injections", limit=AT_LEAST_ONE, metavar="N"
    )
    output_dir: str = flag(
        "runs/faults",
        _FILES,
        "folder of the injections and tables. The same command with --resume goes on",
        metavar="FOLDER",
    )
    resume: bool = flag(
        False,
        _FILES,
        "run the injections that have no result there, and again those that were lost or silent",
    )

    def __post_init__(self) -> None:
        check_values(self)

"""`BenchConfig`: what the bench compares, and on what; a field is a flag."""

from collections.abc import Collection
from dataclasses import dataclass

from minbert.experiments.bench.contender import WORKS
from minbert.experiments.measuring import flags
from minbert.finetune.config import RunConfig
from minbert.finetune.inputs import locate
from minbert.support import shared_flags
from minbert.support.flags import check_values, flag, same_flag

PEERS = ("transformers", "smart_pytorch")
RANDOM_BASE = "bert-base-random"
_WORK, _MODEL, _RUN = "the work", "the models", "the measurement"


@dataclass(frozen=True)
class BenchConfig:
    """The work that is timed, the encoders, and the number of rounds."""

    task: str = flag(
        "para",
        _WORK,
        "task of the rows: pairs (para) or single sentences (sst)",
        choices=("para", "sst"),
    )
    works: tuple[str, ...] = flag(
        tuple(WORKS), _WORK, "what to time", choices=tuple(WORKS), several=True
    )
    batch_sizes: tuple[str, ...] = flags.numbers("16", _WORK, "examples a batch, one size or more")
    steps: int = flags.count(
        8,
        _WORK,
        "batches that a timed stretch of steps consists of; every contender makes its own of the "
        "same rows",
    )
    rows: int = flags.count(512, _WORK, "rows of an epoch and of inference")
    data_dir: str | None = same_flag(RunConfig, "data_dir", _WORK)
    weights: tuple[str, ...] = flag(
        (),
        _MODEL,
        f"folders or names of encoders; {RANDOM_BASE} has bert-base's shape and random weights; "
        "default: the one the main job would take",
        metavar="ENCODER",
        several=True,
    )
    peers: tuple[str, ...] = flag(
        PEERS,
        _MODEL,
        "packages to compare with; one that is not installed is left out",
        choices=PEERS,
        several=True,
    )
    device: str = same_flag(RunConfig, "device", _RUN)
    precision: str = shared_flags.precision(_RUN)
    rounds: int = flags.count(
        7,
        _RUN,
        "how often each contender does each work; a round has all of them, in an order of its own",
    )
    json: str | None = flags.file(flags.JSON)
    csv: str | None = flags.file(flags.CSV)
    markdown: str | None = flags.file("the tables as printed")

    def __post_init__(self) -> None:
        check_values(self)

    @property
    def sizes(self) -> list[int]:
        """The batch sizes as numbers."""
        return [int(text) for text in self.batch_sizes]

    def job(self, given: Collection[str]) -> RunConfig:
        """The main job on the same rows, its data located. Raises InputError."""
        named = [name for name in self.weights if name != RANDOM_BASE]
        job = flags.main_job(self, self.task, weights=named[0] if named else None)
        return locate(job, given).resolved()

"""`CostConfig`: what the cost ledger measures; a field is a flag."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from minbert.encoder.locate import encoder_folder
from minbert.experiments.cost.methods import METHODS
from minbert.experiments.measuring import flags
from minbert.finetune.config import RunConfig
from minbert.finetune.inputs import locate
from minbert.finetune.recommended import recommended
from minbert.support import shared_flags
from minbert.support.errors import InputError
from minbert.support.flags import check_values, flag, refuse_idle, same_flag
from minbert.tasks.registry import TASKS

_BATCH, _MODEL, _RUN = "the batch", "the model", "the measurement"


@dataclass(frozen=True)
class CostConfig:
    """The batch, the model and the rounds of the measurement."""

    task: str = flag("sst", _BATCH, "task of the batch", choices=tuple(TASKS))
    batch_size: int | None = same_flag(RunConfig, "batch_size", _BATCH)
    length: int | None = flag(
        None,
        _BATCH,
        "random ids, every text this long, [CLS] and [SEP] included; default: the first rows of "
        "the task's train file, as long as they are",
        limit=flags.LONG_ENOUGH,
        metavar="TOKENS",
    )
    data_dir: str | None = same_flag(RunConfig, "data_dir", _BATCH)
    weights: str | None = same_flag(RunConfig, "weights", _MODEL)
    cross_encoder: bool = same_flag(RunConfig, "cross_encoder", _MODEL)
    rlayer: bool = same_flag(RunConfig, "rlayer", _MODEL)
    device: str = same_flag(RunConfig, "device", _RUN)
    precision: str = shared_flags.precision(_RUN)
    rounds: int = flags.count(
        5, _RUN, "timed steps of every method; a round has each method once, in an order of its own"
    )
    methods: tuple[str, ...] = flag(
        (),
        _RUN,
        "only these beside standard, by the names that the table has; default: all",
        choices=tuple(method.name for method in METHODS),
        metavar="NAME",
        several=True,
    )
    json: str | None = flags.file(flags.JSON)
    csv: str | None = flags.file(flags.CSV)
    plot: str | None = flags.file("bars, as .svg or .png")

    def __post_init__(self) -> None:
        check_values(self)
        if self.length is not None and self.data_dir is not None:
            raise InputError("--data_dir would do nothing here: --length takes random ids")

    def job(self, given: Collection[str]) -> RunConfig:
        """The main job with the same flags, its files located. Raises InputError."""
        job = flags.main_job(self, self.task, "batch_size", "weights", "cross_encoder", "rlayer")
        refuse_idle(job, given)
        if self.length is None:
            job = locate(job, given)
        else:
            job = dataclasses.replace(job, weights=str(encoder_folder(job.weights)))
        return job.resolved(recommended(Path(str(job.weights)), job.option))

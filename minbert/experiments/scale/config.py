"""`ScaleConfig`: what grows in the scale study, and what stays; a field is a flag."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from minbert.experiments.measuring import flags
from minbert.finetune.config import RunConfig
from minbert.finetune.inputs import locate
from minbert.support import shared_flags
from minbert.support.flags import check_values, flag, same_flag

AXES: Mapping[str, str] = {  # what grows, by the flag that has its values
    "rows": "pairs of a file",
    "lengths": "tokens a text",
    "layers": "layers",
    "batch_sizes": "pairs a batch",
    "ranks": "ranks",
}
_GROWS, _STAYS = "what grows", "what stays"


@dataclass(frozen=True)
class ScaleConfig:
    """The values of everything that grows, and the length and batch size that stay meanwhile."""

    axes: tuple[str, ...] = flag(
        tuple(AXES), _GROWS, "which of them to measure", choices=tuple(AXES), several=True
    )
    rows: tuple[str, ...] = flags.numbers(
        "8000 40000 150000 400000", _GROWS, "pairs of a file that is read"
    )
    lengths: tuple[str, ...] = flags.numbers(
        "16 32 64 128 256 512", _GROWS, "tokens a text", flags.SHORTEST
    )
    layers: tuple[str, ...] = flags.numbers("1 2 4 8 16", _GROWS, "layers of the encoder")
    batch_sizes: tuple[str, ...] = flags.numbers("1 4 16 64 256", _GROWS, "pairs a batch")
    ranks: tuple[str, ...] = flags.numbers(
        "1 2",
        _GROWS,
        "processes that share a batch, and on a CPU its cores; on GPUs each has its own",
    )
    length: int = flag(32, _STAYS, "tokens a text", limit=flags.LONG_ENOUGH, metavar="N")
    batch_size: int = flags.count(16, _STAYS, "pairs a batch")
    data_dir: str | None = same_flag(RunConfig, "data_dir", _STAYS)
    weights: str | None = same_flag(RunConfig, "weights", _STAYS)
    device: str = same_flag(RunConfig, "device", _STAYS)
    precision: str = shared_flags.precision(_STAYS)
    rounds: int = flags.count(5, _STAYS, "timed steps of every value; values take turns")
    json: str | None = flags.file(flags.JSON)
    csv: str | None = flags.file(flags.CSV)
    plot: str | None = flags.file("the curves, as .svg or .png")

    def __post_init__(self) -> None:
        check_values(self)

    def numbers(self, axis: str) -> list[int]:
        """The values of an axis, in rising order."""
        return sorted({int(text) for text in getattr(self, axis)})

    def job(self, given: Collection[str]) -> RunConfig:
        """The main job on the same files, which are located. Raises InputError."""
        job = flags.main_job(self, "para", "weights", "batch_size")
        return dataclasses.replace(locate(job, given).resolved(), lr=1e-5)

"""`ScaleConfig`: what grows in the scale study, and what stays; a field is a flag."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from minbert.experiments.measuring.command import NUMBERS, csv_flag, json_flag
from minbert.finetune.config import RunConfig
from minbert.finetune.inputs import locate
from minbert.support.flags import AT_LEAST_ONE, Limit, check_values, flag, same_flag

AXES: Mapping[str, str] = {  # what grows, by the flag that has its values
    "rows": "pairs of a file",
    "lengths": "tokens a text",
    "layers": "layers",
    "batch_sizes": "pairs a batch",
    "ranks": "ranks",
}
_GROWS, _STAYS, _OUTPUT = "what grows", "what stays", "files to write"
_SHORTEST = 5  # tokens


def _values(default: str, help: str, limit: Limit = NUMBERS) -> Any:
    return flag(
        tuple(default.split()),
        _GROWS,
        help,
        limit=limit,
        metavar="N",
        several=True,
    )


@dataclass(frozen=True)
class ScaleConfig:
    """Values of everything that grows; where another grows, length and batch size stay."""

    axes: tuple[str, ...] = flag(
        tuple(AXES), _GROWS, "which of them to measure", choices=tuple(AXES), several=True
    )
    rows: tuple[str, ...] = _values("8000 40000 150000 400000", "pairs of a file that is read")
    lengths: tuple[str, ...] = _values(
        "16 32 64 128 256 512",
        "tokens a text",
        Limit(
            lambda texts: NUMBERS.holds(texts) and all(int(text) >= _SHORTEST for text in texts),
            f"whole numbers, {_SHORTEST} or more",
        ),
    )
    layers: tuple[str, ...] = _values("1 2 4 8 16", "layers of the encoder")
    batch_sizes: tuple[str, ...] = _values("1 4 16 64 256", "pairs a batch")
    ranks: tuple[str, ...] = _values(
        "1 2", "processes that share a batch, and on a CPU its cores; on GPUs each has its own"
    )
    length: int = flag(
        32, _STAYS, "tokens a text", limit=Limit(lambda n: n >= _SHORTEST, "5 or more"), metavar="N"
    )
    batch_size: int = flag(16, _STAYS, "pairs a batch", limit=AT_LEAST_ONE, metavar="N")
    data_dir: str | None = same_flag(RunConfig, "data_dir", _STAYS)
    weights: str | None = same_flag(RunConfig, "weights", _STAYS)
    device: str = same_flag(RunConfig, "device", _STAYS)
    precision: str = same_flag(RunConfig, "precision", _STAYS)
    rounds: int = flag(
        5, _STAYS, "timed steps of every value; values take turns", limit=AT_LEAST_ONE, metavar="N"
    )
    json: str | None = json_flag(_OUTPUT)
    csv: str | None = csv_flag(_OUTPUT)
    plot: str | None = flag(None, _OUTPUT, "the curves, as .svg or .png", metavar="FILE")

    def __post_init__(self) -> None:
        check_values(self)

    def numbers(self, axis: str) -> list[int]:
        """An axis's values, upwards."""
        return sorted({int(text) for text in getattr(self, axis)})

    def job(self, given: Collection[str]) -> RunConfig:
        """The main job on the same files, which are located. Raises InputError."""
        shared: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("data_dir", "weights", "device", "precision", "batch_size")
        }
        job = RunConfig(option="finetune", tasks=("para",), **shared)
        return dataclasses.replace(locate(job, given).resolved(), lr=1e-5)

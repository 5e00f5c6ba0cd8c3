"""`GpuConfig`: which parts are measured, how long, and on what; a field is a flag."""

from collections.abc import Mapping
from dataclasses import dataclass

from minbert.experiments.measuring import flags
from minbert.finetune.config import RunConfig
from minbert.support import shared_flags
from minbert.support.flags import POSITIVE, check_values, flag, same_flag

PARTS: Mapping[str, tuple[int, str]] = {  # seconds at most, and what is measured, in this order
    "suite": (75, "the tests that need a GPU"),
    "ceilings": (45, "the machine's rates, host costs, and which kernels attention takes"),
    "parity": (70, "losses and gradients beside the CPU's, replays, waits for the device"),
    "steps": (120, "training steps beside the library's: time, kernels, memory, share of the rate"),
    "profile": (35, "where a step's time goes, and the gaps between kernels; with traces"),
    "job": (60, "the main job: seconds an epoch"),
    "pretrain": (45, "pretraining: tokens a second"),
    "compiled": (90, "training steps beside the library's compiled ones"),
}
_WHAT, _HOW = "what is measured", "how"


@dataclass(frozen=True)
class GpuConfig:
    """The parts, their sizes and their time."""

    parts: tuple[str, ...] = flag(
        tuple(PARTS),
        _WHAT,
        "; ".join(f"{name}: {words}" for name, (_, words) in PARTS.items()),
        choices=tuple(PARTS),
        several=True,
    )
    tiny: bool = flag(
        False, _WHAT, "tiny sizes, to try the command; without CUDA they are taken anyway"
    )
    data_dir: str | None = same_flag(RunConfig, "data_dir", _WHAT)
    device: str = shared_flags.device(_HOW)
    seconds: int = flags.count(
        540, _HOW, "seconds in all; what does not fit in any more is cut short or left out"
    )
    patience: float = flag(
        1.0, _HOW, "factor on the time limit of every part", limit=POSITIVE, metavar="X"
    )
    out: str = flag("runs/gpu", _HOW, "report.md, report.json, logs and traces", metavar="FOLDER")

    def __post_init__(self) -> None:
        check_values(self)

"""The flags that say where a run computes, and what it keeps."""

from dataclasses import dataclass

from minbert.finetune.flags import RUN
from minbert.support import shared_flags
from minbert.support.flags import AT_LEAST_ONE, flag


@dataclass(frozen=True)
class MachineFlags:
    """Where the run computes and what it keeps."""

    use_gpu: bool = flag(False, RUN, "fail unless there is a GPU (one is used anyway if there)")
    device: str = shared_flags.device(RUN)
    threads: int | None = shared_flags.threads(RUN)
    precision: str = shared_flags.precision(
        RUN,
        " too unless a term needs passes in fp32 (--smart; --r3f_dropout shared or off)",
        ". Log and manifest name the one that is used. The divergences of these terms, evaluation "
        "and predictions are fp32 always",
    )
    ranks: int = flag(
        1,
        RUN,
        "processes on this machine that train together, each on a part of every batch, and each on "
        "a GPU of its own where there are any; the result is that of one process, but "
        "dropout masks and noise are drawn otherwise",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    micro_batch_size: int | str = shared_flags.micro_batch_size("auto", RUN)
    output_dir: str | None = flag(
        None,
        RUN,
        "log, manifest and checkpoints; default runs/<name of the configuration>",
        metavar="FOLDER",
    )
    resume: bool = shared_flags.resume(RUN)
    track: str | None = shared_flags.track(RUN)
    checkpoint_every: int = flag(
        500,
        RUN,
        "steps between checkpoints; one is written at each epoch's end anyway",
        limit=AT_LEAST_ONE,
        metavar="STEPS",
    )

"""Flags that fine-tuning and pretraining have in common; each job gives them a group of its own.

A call is `warmup(0.1, group)`, or `seed(group)` where the two jobs have the same default.
"""

from functools import partial
from typing import Any

from minbert.support.flags import NOT_NEGATIVE, POSITIVE, RATE, RATES, Limit, When, flag

_MOST_THREADS = 1024  # OpenMP ends a process that asks for more than the system can give

readable = partial(
    flag,
    False,
    help="compute attention and AdamW's updates by the lines to read, not by torch's kernels, and "
    "on a GPU without CUDA graphs and split products: slower, the same results up to rounding",
)
warmup = partial(
    flag,
    help="fraction of all steps in which the rate rises linearly to --lr",
    limit=RATE,
    metavar="FRACTION",
)
schedule = partial(
    flag,
    help="learning rate after warm-up: constant, or down to 0 as (steps left / steps) (linear) or "
    "its power (polynomial)",
    choices=("constant", "linear", "polynomial"),
)
power = partial(
    flag,
    2.0,
    help="exponent of --schedule polynomial",
    limit=POSITIVE,
    metavar="P",
    acts=[When(lambda config: config.schedule == "polynomial", "--schedule polynomial")],
)
weight_decay = partial(
    flag, help="decoupled weight decay; biases and LayerNorm are exempt", limit=RATE, metavar="RATE"
)
betas = partial(
    flag, help="AdamW's decay rates of the first and the second moment", limit=RATES, metavar="BETA"
)
adam_eps = partial(flag, 1e-6, help="AdamW's epsilon", limit=POSITIVE, metavar="EPS")
seed = partial(flag, 11711, help="seed of every random draw", limit=NOT_NEGATIVE, metavar="N")
device = partial(
    flag, "auto", help="auto takes cuda, then mps, then cpu", choices=("auto", "cuda", "mps", "cpu")
)
threads = partial(
    flag,
    None,
    help="CPU threads to compute with, which several --ranks share; default: one a core, or what "
    "the variable OMP_NUM_THREADS says. Beside other work on the machine fewer are faster",
    limit=Limit(lambda n: 1 <= n <= _MOST_THREADS, f"1 to {_MOST_THREADS}"),
    metavar="N",
)
resume = partial(flag, False, help="go on from the last whole checkpoint in --output_dir")
track = partial(
    flag,
    None,
    help="show the run's curves in this program, whose package you install yourself: every value "
    "of the log, the scores of each epoch and the learning rate, on this machine only",
    choices=("tensorboard", "wandb", "trackio"),
)


def clip(default: float | None, group: str) -> Any:
    """The largest gradient norm."""
    off = "; default off" if default is None else ""
    text = f"scale gradients down to this L2 norm{off}"
    return flag(default, group, text, limit=POSITIVE, metavar="NORM")


def micro_batch_size(default: int | str, group: str) -> Any:
    """The rows that memory must hold at once; `auto` is a value only where it is the default."""
    text = "rows that go through the encoder at once; the gradient is the whole batch's"
    if default != "auto":
        return flag(default, group, text, limit=POSITIVE, metavar="ROWS")
    text += "; auto: all, and after a GPU has run out of memory half as many to the run's end"
    limit = Limit(lambda n: n == "auto" or (isinstance(n, int) and n >= 1), "auto, or 1 or more")
    return flag(default, group, text, limit=limit, metavar="ROWS")


def precision(group: str, cpu: str | None = None, rest: str = "") -> Any:
    """The training pass's precision; `cpu` says where `auto` is bf16 on a CPU that has it."""
    there = "" if cpu is None else f", on a CPU with avx512_bf16 or AMX{cpu},"
    text = (
        f"of the training pass; auto takes bf16 on a GPU that has it{there} and fp32 "
        f"elsewhere{rest}"
    )
    return flag("auto", group, text, choices=("auto", "fp32", "bf16"))


class Readable:
    """What follows from a configuration's flag of that name."""

    readable: bool

    @property
    def attention(self) -> str:
        """Which of `minbert.encoder.attention`'s functions runs."""
        return "reference" if self.readable else "fused"

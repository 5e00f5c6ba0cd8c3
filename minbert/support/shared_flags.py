"""Flags that fine-tuning and pretraining have in common; each job gives them its defaults."""

from typing import Any

from minbert.support.flags import NOT_NEGATIVE, POSITIVE, RATE, RATES, When, flag


def readable(group: str) -> Any:
    """Whether the lines to read run where a fast path could."""
    return flag(
        False,
        group,
        "compute attention and AdamW's updates by the lines to read, not by torch's kernels: "
        "slower, the same results up to rounding",
    )


class Readable:
    """What follows from a configuration's flag of that name."""

    readable: bool

    @property
    def attention(self) -> str:
        """Which of `minbert.encoder.attention`'s functions runs."""
        return "reference" if self.readable else "fused"


def warmup(default: float, group: str) -> Any:
    """How long the learning rate rises."""
    return flag(
        default,
        group,
        "fraction of all steps in which the rate rises linearly to --lr",
        limit=RATE,
        metavar="FRACTION",
    )


def schedule(default: str, group: str) -> Any:
    """How the learning rate falls."""
    return flag(
        default,
        group,
        "learning rate after warm-up: constant, or down to 0 as (steps left / steps) (linear) or "
        "its power (polynomial)",
        choices=("constant", "linear", "polynomial"),
    )


def power(group: str) -> Any:
    """The exponent of the polynomial schedule."""
    return flag(
        2.0,
        group,
        "exponent of --schedule polynomial",
        limit=POSITIVE,
        metavar="P",
        acts=[When(lambda config: config.schedule == "polynomial", "--schedule polynomial")],
    )


def weight_decay(default: float, group: str) -> Any:
    """AdamW's decoupled weight decay."""
    return flag(
        default,
        group,
        "decoupled weight decay; biases and LayerNorm are exempt",
        limit=RATE,
        metavar="RATE",
    )


def betas(default: tuple[float, float], group: str) -> Any:
    """AdamW's decay rates."""
    return flag(
        default,
        group,
        "AdamW's decay rates of the first and the second moment",
        limit=RATES,
        metavar="BETA",
    )


def adam_eps(group: str) -> Any:
    """AdamW's epsilon."""
    return flag(1e-6, group, "AdamW's epsilon", limit=POSITIVE, metavar="EPS")


def clip(default: float | None, group: str) -> Any:
    """The largest gradient norm."""
    off = "; default off" if default is None else ""
    return flag(
        default,
        group,
        f"scale gradients down to this L2 norm{off}",
        limit=POSITIVE,
        metavar="NORM",
    )


def seed(group: str) -> Any:
    """The run's seed."""
    return flag(11711, group, "seed of every random draw", limit=NOT_NEGATIVE, metavar="N")


def device(group: str) -> Any:
    """The device to compute on."""
    return flag(
        "auto",
        group,
        "auto takes cuda, then mps, then cpu",
        choices=("auto", "cuda", "mps", "cpu"),
    )


def precision(group: str, exceptions: str = "") -> Any:
    """The training pass's precision; `exceptions` says what is fp32 anyway."""
    return flag(
        "auto",
        group,
        f"of the training pass; auto is bf16 on CUDA that has it, fp32 elsewhere{exceptions}",
        choices=("auto", "fp32", "bf16"),
    )


def resume(group: str) -> Any:
    """Whether to go on with an earlier run."""
    return flag(False, group, "go on from the last whole checkpoint in --output_dir")

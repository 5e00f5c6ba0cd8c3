"""The arms of the experiment: the methods as flags, and what is tuned of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

STANDARD = "standard"
_ROOT_2 = 1.4  # a rate between two that differ by a factor of 2, in one digit


@dataclass(frozen=True)
class Arm:
    """A method. `strengths` has the flags of each strength that is tried, by its name in tables.

    Where there are more than two, each is tried with every second rate.
    """

    name: str
    flags: str = ""
    strengths: Mapping[str, str] | None = None

    def configurations(self, rates: Sequence[float]) -> Iterator["Tuned"]:
        """What tuning tries: as many configurations of every arm, standard has further rates."""
        if self.strengths is None:
            between = sorted(factor * rate for rate in rates for factor in (1.0, _ROOT_2))
            yield from (Tuned(self, rate) for rate in between)
            return
        for place, (strength, flags) in enumerate(self.strengths.items()):
            for rate in (rates[place % 2 :: 2] or rates) if len(self.strengths) > 2 else rates:
                yield Tuned(self, rate, strength, flags)


@dataclass(frozen=True)
class Tuned:
    """An arm with a learning rate and a strength."""

    arm: Arm
    rate: float
    strength: str = ""
    strength_flags: str = ""

    @property
    def name(self) -> str:
        """The configuration's name in tables."""
        return ", ".join(filter(None, (self.arm.name, self.strength, f"rate {self.rate:g}")))

    @property
    def flags(self) -> str:
        """The main job's flags for it."""
        parts = (f"--lr {self.rate:g}", self.arm.flags, self.strength_flags)
        return " ".join(filter(None, parts))


_QUARTER = "--freelb_lr 0.025 --freelb_init sst=0.25,sts=0.04 --freelb_radius sst=0.15,sts=0.07"
_SIGMAS = ("1e-5", "1e-3", "1e-2", "1e-1")
NOISE_ONLY = "R3F, noise only"


def _weights(flag: str, symbol: str) -> dict[str, str]:
    return {f"{symbol} = {weight}": f"--{flag} {weight}" for weight in (1, 5)}


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(STANDARD),
        Arm(
            "FreeLB",
            "--freelb --freelb_steps 2",
            {"as published": "", "a quarter of it": _QUARTER},
        ),
        Arm(
            "R-Drop",
            "--r3f --r3f_sigma 0 --r3f_dropout independent",
            _weights("r3f_lambda", "λ"),
        ),
        Arm(
            NOISE_ONLY,
            "--r3f --r3f_dropout shared",
            {f"σ = {sigma}": f"--r3f_sigma {sigma}" for sigma in _SIGMAS},
        ),
        Arm(
            "Bregman",
            "--smart --no_adversarial --smart_dropout shared",
            _weights("bregman_mu", "μ"),
        ),
        Arm("SMART", "--smart --smart_dropout shared", _weights("smart_lambda", "λ")),
    )
}

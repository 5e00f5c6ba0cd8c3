"""Functions of ours that would compute a hole's solution by another way, and what replaces them.

A starter has the readable path only: the fast paths and the variants of the same formulas go.
"""

from dataclasses import dataclass

from minbert.classroom.source import module_of

_PUBLISHED = "minbert.regularizers.published"
_FREELB = "minbert.regularizers.freelb"  # its ascent is nearly SMART's


@dataclass(frozen=True)
class Detour:
    """A function whose body is replaced where a starter has the step."""

    function: str
    step: str  # the name of the step that it would give away
    body: str


def _left_out(function: str, step: str) -> Detour:
    words = f"the starter leaves {module_of(function)[1]} out"
    return Detour(function, step, f'raise NotImplementedError("{words}")')


DETOURS: tuple[Detour, ...] = (
    Detour(
        "minbert.encoder.attention.fused_attention",
        "attention",
        "# the starter has no kernel for it\n"
        "return reference_attention(query, key, value, key_mask, dropout)",
    ),
    Detour(
        "minbert.training.optimizer._fits_kernel",
        "adamw",
        "return False  # the starter has no kernel for it",
    ),
    _left_out("minbert.training.optimizer.fused_update", "adamw"),
    *(
        _left_out(f"{_PUBLISHED}.{name}", "divergences")
        for name in ("summed_square", "square_of_all_pairs", "odds_divergence", "_summed_kl")
    ),
    _left_out(f"{_PUBLISHED}.renormalized", "smart"),
    _left_out("minbert.regularizers.smart.adversarial.slope_of_clean", "smart"),
    *(_left_out(f"{_FREELB}.{name}", "smart") for name in ("FreeLB.passes", "FreeLB.moved")),
    _left_out(f"{_FREELB}._norms", "smart"),
    _left_out(f"{_FREELB}.FreeLB.start", "r3f"),
)

"""Training steps of this package beside the reference library's, on the same batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from minbert.data.batches import Batch, positions_of
from minbert.experiments.gpu import library
from minbert.experiments.gpu.ceilings import copy_rate
from minbert.experiments.gpu.findings import Facts, Findings
from minbert.experiments.gpu.material import METHODS, READABLE, Setting, named
from minbert.experiments.measuring.profiling import kernels_of
from minbert.experiments.measuring.rates import counted_operations, rate_of
from minbert.experiments.measuring.spread import Spread, with_quartiles
from minbert.experiments.measuring.trial import Trial, interleaved, peak_memory, seconds_of
from minbert.support.device import to_device

_ADAMW_BYTES = 28  # of a weight: it, its gradient and two moments are read, all but one written
OURS = "minbert"


@dataclass(frozen=True)
class Ceilings:
    """The machine's rates: operations a second of products, bytes a second of a copy."""

    flops: float
    bytes: float

    def floor(self, operations: int, weights: int) -> float:
        """The seconds that a step takes at least: its products, then the update of all weights."""
        return operations / self.flops + _ADAMW_BYTES * weights / self.bytes


def measure(setting: Setting, findings: Findings) -> None:
    """Time every method on every batch."""
    device, size = setting.device, setting.sizes.product
    low = setting.precision == "bf16"
    rate = rate_of(size, device, torch.bfloat16 if low else torch.float32).flops
    ceilings = Ceilings(rate, copy_rate(device, size) * 1e9)
    for method, (pairs, length), precision in _cases(setting):
        name = f"{method}, {precision}, {named(pairs, length)}"
        findings.add(name, times, setting, ceilings, method, (pairs, length), precision, need=6)
    for batch in setting.sizes.batches:
        findings.add(f"without padding, {named(*batch)}", unpadded, setting, batch, need=3)


def _cases(setting: Setting) -> Iterator[tuple[str, tuple[int, int], str]]:
    """The methods in the precision that a step has here, the smallest batch first; then fp32."""
    batches, precision = setting.sizes.batches, setting.precision
    for method in (*METHODS, *READABLE):
        yield method, batches[0], precision
    for batch in batches[1:]:
        yield "plain", batch, precision
        yield "SMART", batch, precision
    if precision != "fp32":
        for method in ("plain", "SMART"):
            yield method, batches[0], "fp32"
    for batch in batches[1:]:
        yield "R3F", batch, precision
        yield "FreeLB", batch, precision


def times(
    setting: Setting, ceilings: Ceilings, method: str, size: tuple[int, int], precision: str
) -> Facts:
    """Our step's time, kernels and memory; the library's time over it, round by round."""
    batch = setting.batch(*size)
    trial = setting.trial(method, setting.encoder(), batch, precision)
    kernels = _kernels(trial)  # before others take memory
    kinds = (library.AS_USED, library.TUNED)
    others = library.prepared(setting, method, batch, precision, *kinds)
    taken = in_rounds(setting, {OURS: trial.step, **others})
    facts = {**milliseconds(taken[OURS]), **kernels}
    if not setting.tiny:  # what is counted runs once more, by the readable lines
        floor = ceilings.floor(counted_operations(trial, [batch]), _weights(trial))
        share = floor * 1e3 / facts["ms"] if method == "plain" else None
        facts |= {"floor of a plain step, ms": floor * 1e3, "floor / ms": share}
    return {**facts, **ratios(taken, *kinds)}


def unpadded(setting: Setting, size: tuple[int, int]) -> Facts:
    """A plain step that leaves padding out beside one that computes it: where does that pay?"""
    whole = setting.batch(*size)
    positions = _positions(whole)
    batches = {OURS: _computing(whole, positions), "padded": _computing(whole, None)}
    trials = {
        name: setting.trial("plain", setting.encoder(), batch, setting.precision)
        for name, batch in batches.items()
    }
    taken = in_rounds(setting, {name: trial.step for name, trial in trials.items()})
    ratio = with_quartiles(*Spread.of_ratios(taken["padded"], taken[OURS]))
    saved = whole.padded_tokens - len(positions)
    return {**milliseconds(taken[OURS]), "positions left out": saved, "padded / unpadded": ratio}


def _positions(batch: Batch) -> Tensor:
    assert batch.tokens is not None
    positions = positions_of(batch.tokens.lengths, batch.tokens.input_ids.size(1))
    return to_device(positions, batch.labels.device)


def _computing(batch: Batch, positions: Tensor | None) -> Batch:
    """The batch of whose texts the encoder computes these positions; all for None."""
    assert batch.tokens is not None
    return replace(batch, tokens=replace(batch.tokens, computed=positions))


def in_rounds(setting: Setting, steps: Mapping[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Seconds of a step, for each round, of stacks that take turns."""
    device, count = setting.device, setting.sizes.steps

    def stretch(step: Callable[[], None]) -> float:
        def several() -> None:
            for _ in range(count):
                step()

        return seconds_of(several, device) / count

    turns = {name: partial(stretch, step) for name, step in steps.items()}
    return interleaved(turns, setting.sizes.rounds)


def milliseconds(seconds: Sequence[float]) -> dict[str, Any]:
    """The median of a step's milliseconds, and the quartiles as text."""
    spread = Spread.of([1e3 * value for value in seconds])
    return {"ms": spread.median, "quartiles": f"{spread.low:.3g} to {spread.high:.3g}"}


def ratios(taken: Mapping[str, Sequence[float]], *kinds: str) -> Facts:
    """The library's time over ours within a round: median and quartiles; above 1 it is slower."""
    return {
        f"library {kind} / ours": with_quartiles(*Spread.of_ratios(taken[kind], taken[OURS]))
        if kind in taken
        else None
        for kind in kinds
    }


def _kernels(trial: Trial) -> dict[str, Any]:
    """The kernels of a step, the time in which they run, and the memory at its highest point."""
    device = trial.batch.labels.device
    if device.type != "cuda":
        return {"kernels": None, "they run, ms": None, "peak, GB": None}
    found, peak = kernels_of(trial.step, device), peak_memory(trial.step, device)
    return {
        "kernels": found.count,
        "they run, ms": found.busy * 1e3,
        "peak, GB": None if peak is None else peak / 1e9,
    }


def _weights(trial: Trial) -> int:
    return sum(param.numel() for param in trial.model.parameters())

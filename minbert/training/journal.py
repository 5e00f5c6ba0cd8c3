"""The run's log: one JSON line a batch, and the guard that stops a run on a non-finite value.

On an accelerator the values stay on the device for `flush_every` steps, so that logging does not
make the host wait at every step. On a CPU every step is flushed.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from minbert.support.errors import RunError
from minbert.training.plan import StepBatch

_NAMED = 64  # ids that an error names at most: one line must stay readable


@dataclass
class _Pending:
    """A step not yet written: the facts, ids and values of each batch, and the gradient's norm."""

    facts: list[dict[str, Any]]
    ids: list[tuple[str, ...]]
    values: list[Mapping[str, Tensor]]
    norm: Tensor

    def scalars(self) -> list[Tensor]:
        """All values, the norm last."""
        return [*(value for values in self.values for value in values.values()), self.norm]

    def read(self, numbers: Iterator[float]) -> tuple[list[dict[str, float]], float]:
        """The values of each batch and the norm as numbers, in the order of `scalars`."""
        values = [{name: next(numbers) for name in values} for values in self.values]
        return values, next(numbers)


class Lines(Protocol):
    """Where the lines of a log go."""

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows."""

    def sync(self) -> None:
        """Bring the rows to disk."""


class Journal:
    """The log of a run, which raises RunError at a loss or gradient that is not finite."""

    def __init__(self, log: Lines, device: torch.device, flush_every: int = 20) -> None:
        self._log = log
        self._flush_every = 1 if device.type == "cpu" else flush_every
        self._pending: list[_Pending] = []
        self._since = time.monotonic()
        self.last: dict[str, Any] = {}

    def add(
        self,
        step: int,
        lr: float,
        batches: Sequence[StepBatch],
        values: Sequence[Mapping[str, Tensor]],
        norm: Tensor,
    ) -> None:
        """Record a step before its update; flush, and so check, when a flush is due.

        `values` are each batch's scalars on the device, `loss` among them; `norm` is the norm of
        the summed gradients, which every line of the step has as its `grad_norm`.
        """
        facts = [
            {"step": step, "task": batch.name, "lr": lr, "tokens": batch.real_tokens}
            for batch in batches
        ]
        self._pending.append(_Pending(facts, [batch.ids for batch in batches], [*values], norm))
        if len(self._pending) >= self._flush_every:
            self.flush()

    def leave_out_time(self) -> None:
        """Leave the time since the last step, which was no training, out of tokens a second."""
        self._since = time.monotonic()

    def sync(self) -> None:
        """Do as `flush` does, and bring all lines to disk before a checkpoint relies on them."""
        self.flush()
        self._log.sync()

    def flush(self) -> None:
        """Write what is pending (the one synchronisation) and check it. Raises RunError."""
        if not self._pending:
            return
        # fp32 is enough for a log, and all that an mps device has
        tensors = [value.float() for entry in self._pending for value in entry.scalars()]
        numbers = iter(torch.stack(tensors).tolist())
        now = time.monotonic()
        tokens = sum(facts["tokens"] for entry in self._pending for facts in entry.facts)
        speed = {"tokens_per_s": round(tokens / max(now - self._since, 1e-9))}
        rows = []
        try:
            for entry in self._pending:
                values, norm = entry.read(numbers)
                _check(entry, values, norm)
                rows += [
                    {**facts, **scalars, "grad_norm": norm, **speed}
                    for facts, scalars in zip(entry.facts, values, strict=True)
                ]
        finally:
            self._log.write(rows)  # up to a step that failed
        self.last = rows[-1]
        self._pending.clear()
        self._since = now


def _check(entry: _Pending, values: Sequence[Mapping[str, float]], norm: float) -> None:
    """Raise RunError at the first value that is not finite; a bad norm is blamed on all batches."""
    step, tasks = entry.facts[0]["step"], [facts["task"] for facts in entry.facts]
    for task, ids, scalars in zip(tasks, entry.ids, values, strict=True):
        for name, value in scalars.items():
            _check_value(name, value, f"step {step}, task {task}", ids)
    every = tuple(name for ids in entry.ids for name in ids)
    _check_value("grad_norm", norm, f"step {step}, task {' or '.join(tasks)}", every)


def _check_value(name: str, value: float, where: str, ids: Sequence[str]) -> None:
    if not math.isfinite(value):
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        raise RunError(
            f"{where}: {name} is {value}; its gradients were not used. "
            f"Example ids: {', '.join(ids[:_NAMED])}{more}. "
            "Lower --lr, set --clip, or look at these rows"
        )

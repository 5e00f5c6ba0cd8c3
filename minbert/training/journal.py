"""The run's log: one JSON line a batch, and the guard that stops a run on a non-finite value.

On an accelerator values stay there until `flush_every` steps are due, so that logging does not
make the host wait for the device at every step. On a CPU every step is flushed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from minbert.support import durable_files
from minbert.support.errors import RunError

_NAMED = 64  # ids that an error names at most: one line must stay readable


class StepBatch(Protocol):
    """What loop and log ask of a batch, whatever it trains. `minbert.data.batches.Batch` is one."""

    @property
    def name(self) -> str:
        """The task's."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Where its examples can be found again."""
        ...

    @property
    def real_tokens(self) -> int:
        """Tokens that go through the encoder, padding apart."""
        ...

    @property
    def padded_tokens(self) -> int:
        """The same with padding."""
        ...


@dataclass
class _Pending:
    """A step: its batches' facts, ids and named values, and the norm of the summed gradients."""

    facts: list[dict[str, Any]]
    ids: list[tuple[str, ...]]
    values: list[Mapping[str, Tensor]]
    norm: Tensor

    def scalars(self) -> list[Tensor]:
        """All values, the norm last."""
        return [*(value for own in self.values for value in own.values()), self.norm]

    def read(self, numbers: Iterator[float]) -> tuple[list[dict[str, float]], float]:
        """The same as numbers, taken from what `scalars` became."""
        values = [{name: next(numbers) for name in own} for own in self.values]
        return values, next(numbers)


class Journal:
    """Collects steps, writes them, and raises RunError at a loss or gradient that is not finite."""

    def __init__(
        self, log: durable_files.JsonLines, device: torch.device, flush_every: int = 20
    ) -> None:
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
        """Record a step before its update; flushes, and so checks, when one is due.

        `values` are each batch's scalars on the device, `loss` among them; `norm` is that of the
        gradients' sum, which every line of the step has as its `grad_norm`.
        """
        facts = [
            {"step": step, "task": batch.name, "lr": lr, "tokens": batch.real_tokens}
            for batch in batches
        ]
        self._pending.append(_Pending(facts, [batch.ids for batch in batches], [*values], norm))
        if len(self._pending) >= self._flush_every:
            self.flush()

    def leave_out_time(self) -> None:
        """Count tokens a second from now on: what came since the last step was no training."""
        self._since = time.monotonic()

    def flush(self) -> None:
        """Write what is pending (the one synchronisation) and check it. Raises RunError."""
        if not self._pending:
            return
        # fp32 is enough for a log, and all that an mps device has
        scalars = [value.float() for entry in self._pending for value in entry.scalars()]
        numbers = iter(torch.stack(scalars).tolist())
        now = time.monotonic()
        tokens = sum(facts["tokens"] for entry in self._pending for facts in entry.facts)
        speed = {"tokens_per_s": round(tokens / max(now - self._since, 1e-9))}
        rows = []
        try:
            for entry in self._pending:
                values, norm = entry.read(numbers)
                _check(entry, values, norm)
                rows += [
                    {**facts, **own, "grad_norm": norm, **speed}
                    for facts, own in zip(entry.facts, values, strict=True)
                ]
        finally:
            self._log.write(rows)  # up to a step that failed
        self.last = rows[-1]
        self._pending.clear()
        self._since = now


def _check(entry: _Pending, values: Sequence[Mapping[str, float]], norm: float) -> None:
    """Raise RunError at the first value that is not finite; a norm's culprit is any batch."""
    step, tasks = entry.facts[0]["step"], [facts["task"] for facts in entry.facts]
    for task, ids, own in zip(tasks, entry.ids, values, strict=True):
        for name, value in own.items():
            _check_value(name, value, f"step {step}, task {task}", ids)
    every = tuple(name for ids in entry.ids for name in ids)
    _check_value("grad_norm", norm, f"step {step}, task {' or '.join(tasks)}", every)


def _check_value(name: str, value: float, where: str, ids: Sequence[str]) -> None:
    if not math.isfinite(value):
        raise RunError(
            f"{where}: {name} is {value}; its gradients were not used. "
            f"Example ids: {_listed(ids)}. "
            "Lower --lr, set --clip, or look at these rows"
        )


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more

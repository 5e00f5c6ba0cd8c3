"""The run's log: one JSON line a step, and the guard that stops a run on a non-finite value.

On an accelerator values stay there until `flush_every` steps are due, so that logging does not
make the host wait for the device at every step. On a CPU every step is flushed.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from minbert import files
from minbert.runtime import RunError

_NAMED = 64  # ids that an error names at most: one line must stay readable


class StepBatch(Protocol):
    """What loop and log ask of a batch, whatever it trains. `minbert.batching.Batch` is one."""

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
    def computed_tokens(self) -> int:
        """The same with padding."""
        ...


@dataclass
class _Pending:
    facts: dict[str, Any]
    ids: tuple[str, ...]
    names: list[str]
    values: list[Tensor]


class Journal:
    """Collects steps, writes them, and raises RunError at a loss or gradient that is not finite."""

    def __init__(self, log: files.JsonLines, device: torch.device, flush_every: int = 20) -> None:
        self._log = log
        self._flush_every = 1 if device.type == "cpu" else flush_every
        self._pending: list[_Pending] = []
        self._since = time.monotonic()
        self.last: dict[str, Any] = {}

    def add(self, step: int, lr: float, batch: StepBatch, values: dict[str, Tensor]) -> None:
        """Record a step before its update; flushes, and so checks, when one is due.

        `values` are scalars on the device, `loss` and `grad_norm` among them.
        """
        facts = {"step": step, "task": batch.name, "lr": lr, "tokens": batch.real_tokens}
        self._pending.append(_Pending(facts, batch.ids, list(values), list(values.values())))
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
        flat = torch.stack([v.float() for entry in self._pending for v in entry.values]).tolist()
        now = time.monotonic()
        tokens = sum(entry.facts["tokens"] for entry in self._pending)
        speed = {"tokens_per_s": round(tokens / max(now - self._since, 1e-9))}
        rows = []
        try:
            for entry in self._pending:
                values = dict(zip(entry.names, flat[: len(entry.names)], strict=True))
                del flat[: len(entry.names)]
                _check(entry, values)
                rows.append({**entry.facts, **values, **speed})
        finally:
            self._log.write(rows)  # up to a step that failed
        self.last = rows[-1]
        self._pending.clear()
        self._since = now


def _check(entry: _Pending, values: dict[str, float]) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            where = f"step {entry.facts['step']}, task {entry.facts['task']}"
            raise RunError(
                f"{where}: {name} is {value}; its gradients were not used. "
                f"Example ids: {_listed(entry.ids)}. "
                "Lower --lr, set --clip, or look at these rows"
            )


def _listed(ids: tuple[str, ...]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more

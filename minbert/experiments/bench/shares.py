"""Where a training step's time goes: encoder, attention, dropout, optimizer, data, Python.

The profiler lists every operator with its own time. The scope around a forward operator says which
part it belongs to. An operator of the backward pass belongs to the part of its forward operator,
which autograd gives the same sequence number. Time that no operator took is Python's, or the GPU's
idle time.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.profiler import record_function

from minbert.data.batches import Batch
from minbert.encoder import attention, dropout
from minbert.encoder.attention import AttentionChoice
from minbert.encoder.bert import BertModel
from minbert.experiments.measuring.profiling import profiler
from minbert.experiments.measuring.trial import Trial, seconds_of

PARTS = ("encoder", "attention", "dropout", "head and loss", "optimizer", "data", "Python")
_HOST = torch.autograd.DeviceType.CPU  # type: ignore[attr-defined]
_BACKWARD = "autograd::engine::evaluate_function"
_SCOPES = {f"minbert.{part}": part for part in PARTS}


def shares(trial: Trial, draw: Callable[[], Iterator[Batch]]) -> dict[str, float]:
    """Each part's share of the time of steps over the batches that `draw` gives."""
    device = trial.batch.labels.device
    _steps(trial, draw())
    seconds = seconds_of(lambda: _steps(trial, draw()), device)
    parts = _profiled(trial, draw, device)
    parts["Python"] = max(seconds - sum(parts.values()), 0.0)
    total = sum(parts.values())
    return {part: parts[part] / total for part in PARTS}


def _steps(trial: Trial, batches: Iterator[Batch]) -> None:
    while True:
        with _scope("data"):
            batch = next(batches, None)
        if batch is None:
            return
        trial.objective.backward(trial.model, batch, seed=1)
        with _scope("optimizer"):
            trial.optimizer.step()
            trial.optimizer.zero_grad()
        trial.objective.after_step(trial.model)


def _scope(part: str) -> record_function:
    """A part's announcement to the profiler: for a block, or for a function as a decorator."""
    return record_function(f"minbert.{part}")


def _profiled(
    trial: Trial, draw: Callable[[], Iterator[Batch]], device: torch.device
) -> dict[str, float]:
    """The seconds that the operators of each part took."""
    with _scoped(trial.model), profiler(device) as profiled:
        _steps(trial, draw())
    return seconds_by_part(profiled.events(), device)


def seconds_by_part(every: Sequence[Any], device: torch.device) -> dict[str, float]:
    """The seconds of each part, from the profiler's events.

    A kernel's time is its operator's already, so the events of kernels themselves are left out.
    """
    events = [e for e in every if e.name not in _SCOPES and e.device_type == _HOST]
    owners = _owners_by_number(events)
    total = f"self_{'device' if device.type == 'cuda' else 'cpu'}_time_total"
    seconds = dict.fromkeys(PARTS, 0.0)
    for event in events:
        seconds[_owner(event, owners)] += getattr(event, total) / 1e6
    return seconds


@contextlib.contextmanager
def _scoped(model: nn.Module) -> Iterator[None]:
    """Let every part of the model announce itself to the profiler, within the block."""
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, BertModel):
                choice = AttentionChoice(*(_scope("attention")(f) for f in module.attention))
                stack.enter_context(mock.patch.object(module, "attention", choice))
                encode = _scope("encoder")(module.encode)
                stack.enter_context(mock.patch.object(module, "encode", encode))
        for user, name in ((attention, "drop"), (dropout, "dropout")):
            inner = _scope("dropout")(dropout.dropout)
            stack.enter_context(mock.patch.object(user, name, inner))
        yield


def _owners_by_number(events: Sequence[Any]) -> dict[int, str]:
    """The part of the forward operator that made each autograd node, by sequence number.

    Where several operators have a number, the last of them made the node.
    """
    return {
        event.sequence_nr: _scope_of(event)
        for event in sorted(events, key=lambda event: event.time_range.start)
        if event.sequence_nr >= 0 and _backward_of(event) is None
    }


def _owner(event: Any, owners: dict[int, str]) -> str:
    if (backward := _backward_of(event)) is None:
        return _scope_of(event)
    # a node without an owner sums up gradients of the encoder's weights
    return owners.get(backward.sequence_nr, "encoder")


def _scope_of(event: Any) -> str:
    """The part whose scope is the innermost around a forward operator."""
    scope = _innermost(event, _SCOPES.__contains__)
    return "head and loss" if scope is None else _SCOPES[scope.name]


def _backward_of(event: Any) -> Any:
    """The autograd node that an operator ran for; None for one of a forward pass."""
    return _innermost(event, lambda name: name.startswith(_BACKWARD))


def _innermost(event: Any, is_wanted: Callable[[str], bool]) -> Any:
    """The event itself, or the first around it, whose name is wanted; None where there is none."""
    while event is not None and not is_wanted(event.name):
        event = event.cpu_parent
    return event

"""The shares of a step's time, from events as a GPU's profile has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from minbert.experiments.bench.shares import seconds_by_part

HOST, DEVICE = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA


def event(name: str, place: Any, us: float, parent: Any = None) -> Any:
    return SimpleNamespace(
        name=name,
        device_type=place,
        self_device_time_total=us,
        cpu_parent=parent,
        sequence_nr=-1,
        time_range=SimpleNamespace(start=0),
    )


def test_a_kernels_time_counts_once() -> None:
    scope = event("minbert.optimizer", HOST, 0)
    operator = event("aten::_fused_adamw_", HOST, 30, scope)
    kernel = event("multi_tensor_apply_kernel", DEVICE, 30)
    found = seconds_by_part([scope, operator, kernel], torch.device("cuda"))
    assert found["optimizer"] == pytest.approx(30e-6)
    assert sum(found.values()) == pytest.approx(30e-6)

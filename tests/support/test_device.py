"""Which device and which precision a run takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from minbert.support.device import at_least_fp32, pick_autocast, pick_device, to_device
from minbert.support.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_the_best_device(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, best: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto") == torch.device(best)
    assert pick_device("cpu") == CPU
    if best != "cpu":
        assert pick_device("auto", require_gpu=True).type == best


def test_absent_devices_are_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "mps"):
        with pytest.raises(InputError, match=f"--device {name}"):
            pick_device(name)
    with pytest.raises(InputError, match="--use_gpu"):
        pick_device("auto", require_gpu=True)
    with pytest.raises(InputError, match="--use_gpu"):
        pick_device("cpu", require_gpu=True)


def test_autocast_dtype() -> None:
    assert pick_autocast("fp32", CPU) is None
    assert pick_autocast("auto", CPU) is None
    assert pick_autocast("bf16", CPU) is torch.bfloat16


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bf16_only_where_cuda_has_it(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    expected = torch.bfloat16 if native else None
    assert pick_autocast("auto", torch.device("cuda")) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_at_least_fp32(given: torch.dtype, expected: torch.dtype) -> None:
    assert at_least_fp32(torch.ones(2, dtype=given)).dtype is expected


@pytest.mark.parametrize("values", [np.arange(6).reshape(2, 3).T, torch.arange(6).view(2, 3).T])
def test_arrays_and_tensors_reach_the_device_in_one_piece(values: Any) -> None:
    moved = to_device(values, torch.device("cpu"))
    assert moved.is_contiguous()
    assert moved.tolist() == [[0, 3], [1, 4], [2, 5]]

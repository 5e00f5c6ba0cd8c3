"""Which device and which precision a run takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minbert.support import device
from minbert.support.device import (
    at_least_fp32,
    pick_autocast,
    pick_device,
    pick_precision,
    to_device,
)
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


def test_autocast_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "multiplies_bf16", lambda: True)
    assert pick_autocast("fp32", CPU) is None
    assert pick_autocast("auto", CPU) is None  # of a run before precisions were decided
    assert pick_autocast("bf16", CPU) is torch.bfloat16


@pytest.mark.parametrize("lowers", [True, False])
@pytest.mark.parametrize("able", [True, False])
def test_auto_is_bf16_on_a_cpu_that_has_it_where_every_pass_may_be(
    monkeypatch: pytest.MonkeyPatch, able: bool, lowers: bool
) -> None:
    monkeypatch.setattr(device, "multiplies_bf16", lambda: able)
    expected = "bf16" if able and lowers else "fp32"
    assert pick_precision("auto", CPU, lowers=lowers) == expected
    assert pick_precision("auto", torch.device("mps"), lowers=lowers) == "fp32"
    for asked in ("fp32", "bf16"):
        assert pick_precision(asked, CPU, lowers=lowers) == asked


@pytest.mark.parametrize("instruction", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_a_processor_is_asked_for_the_instructions_that_multiply_bf16(
    monkeypatch: pytest.MonkeyPatch, instruction: str
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    every = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    for name in every:
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert not device.multiplies_bf16()
    monkeypatch.setattr(torch.cpu, instruction, lambda: True)
    assert device.multiplies_bf16()
    for isa, able in (("avx512_core", False), ("AVX512_CORE_AMX", True), ("ALL", True)):
        with monkeypatch.context() as held:
            held.setenv("ONEDNN_MAX_CPU_ISA", isa)
            assert device.multiplies_bf16() == able
    for name in every:
        monkeypatch.delattr(torch.cpu, name)
    assert not device.multiplies_bf16()  # a torch that cannot say


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


def test_a_gpu_gets_its_numbers_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy from other memory would make the host wait for all that the GPU still has to do."""
    calls: list[Any] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda own: calls.append("pinned") or own)
    monkeypatch.setattr(torch.Tensor, "to", lambda own, *to, **how: calls.append((to, how)) or own)
    cuda = torch.device("cuda")
    to_device(np.arange(3), cuda)
    assert calls == ["pinned", ((cuda,), {"non_blocking": True})]


_FROM_THE_HOST = re.compile(
    r"(from_numpy|as_tensor|torch\.tensor)\(.*\)\.(to|cuda)\([^)]*device"
    r"|(as_tensor|torch\.tensor|new_tensor)\([^#\n]*device="
)


def test_numbers_reach_a_device_by_to_device_alone() -> None:
    assert _FROM_THE_HOST.search("ids = torch.from_numpy(rows[part]).to(device)")
    assert _FROM_THE_HOST.search("torch.tensor([1, 2], device=x.device)")
    package = Path(device.__file__).parents[1]
    found = [
        f"{path.relative_to(package)}: {line.strip()}"
        for path in package.rglob("*.py")
        if path.parts[len(package.parts)] not in ("classroom", "experiments")
        for line in path.read_text(encoding="utf-8").splitlines()
        if _FROM_THE_HOST.search(line)
    ]
    assert found == []

"""What the machine can do: rates, what a launch costs the host, which kernels attention takes."""

import importlib.metadata
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minbert.experiments.gpu.findings import Facts, Findings
from minbert.experiments.gpu.material import Setting
from minbert.experiments.measuring.rates import rate_of
from minbert.experiments.measuring.spread import Spread
from minbert.experiments.measuring.trial import seconds_of
from minbert.support.device import to_device, wait_for
from minbert.support.randomness import seeded

_PACKAGES = ("torch", "triton", "transformers", "tokenizers", "huggingface_hub", "numpy")
_KERNELS = {-1: "error", 0: "math", 1: "flash", 2: "efficient", 3: "cudnn", 4: "overrideable"}
_CALLS = 100


def measure(setting: Setting, findings: Findings) -> None:
    """Versions, rates, host costs, attention."""
    device, size = setting.device, setting.sizes.product
    findings.add("versions", versions, device)
    findings.add("rates", rates, device, size)
    findings.add("microseconds of the host", host_costs, device)
    for dtype in (torch.bfloat16, torch.float32):
        for rate in (0.0, 0.1):
            name = f"attention, {str(dtype)[6:]}, dropout {rate:g}"
            findings.add(name, attention, setting, dtype, rate)


def versions(device: torch.device) -> Facts:
    """The versions of what computes here, and the device's name."""
    facts: dict[str, Any] = {"python": sys.version.split()[0], "cores": os.cpu_count()}
    for package in _PACKAGES:
        try:
            facts[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            facts[package] = None
    if device.type == "cuda":
        facts |= {"device": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return facts


def rates(device: torch.device, size: int) -> Facts:
    """What products and copies reach."""
    return {**products(device, size), "copy, GB/s": copy_rate(device, size)}


def products(device: torch.device, size: int) -> dict[str, float]:
    """The rates of square matrix products, in 10^12 operations a second."""
    found = {
        f"{str(dtype)[6:]}, TFLOP/s": rate_of(size, device, dtype).flops / 1e12
        for dtype in (torch.bfloat16, torch.float32)
    }
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        found["tf32, TFLOP/s"] = rate_of(size, device, torch.float32).flops / 1e12
        torch.set_float32_matmul_precision("highest")
    return found


def copy_rate(device: torch.device, size: int) -> float:
    """The bytes that a copy within the device's memory reads and writes, in 10^9 a second."""
    source = torch.ones(4 * size * size, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    seconds = Spread.of([seconds_of(lambda: target.copy_(source), device) for _ in range(5)])
    return 2 * source.nbytes / seconds.median / 1e9


def host_costs(device: torch.device) -> Facts:
    """What a call takes the host, without waiting for the device."""
    small, ids = torch.zeros(32, device=device), torch.zeros(32, 32, dtype=torch.int64)

    def nothing() -> None:
        with seeded(1, device):
            pass

    return {
        "a launch": _microseconds(lambda: small.add_(1), device),
        "seeded()": _microseconds(nothing, device),
        "to_device of 32 x 32 ids": _microseconds(lambda: to_device(ids, device), device),
    }


def _microseconds(work: Callable[[], object], device: torch.device) -> float:
    work()
    wait_for(device)
    began = time.perf_counter()
    for _ in range(_CALLS):
        work()
    taken = time.perf_counter() - began
    wait_for(device)
    return taken / _CALLS * 1e6


def attention(setting: Setting, dtype: torch.dtype, rate: float) -> Facts:
    """The kernel that torch takes with a mask, its time, and the dropout that it really has."""
    device, shape = setting.device, (2, 2, 16, 8) if setting.tiny else (32, 12, 64, 64)
    query, key, value = (torch.randn(shape, device=device, dtype=dtype) for _ in range(3))
    for tensor in (query, key, value):
        tensor.requires_grad_()
    mask = torch.ones(shape[0], 1, 1, shape[2], dtype=torch.bool, device=device)
    mask[:, :, :, shape[2] // 2 :] = False

    def work() -> None:
        F.scaled_dot_product_attention(query, key, value, mask, rate).sum().backward()

    work()
    spread = Spread.of([seconds_of(work, device) for _ in range(5)])
    chosen = int(torch._fused_sdp_choice(query, key, value, mask, rate))
    return {
        "kernel": _KERNELS.get(chosen, str(chosen)),
        "us, forward and backward": spread.median * 1e6,
        "weights dropped": _dropped(query, rate),
    }


def _dropped(like: Tensor, rate: float) -> float:
    """The share of attention weights that dropout sets to 0."""
    length = like.size(-2)
    query = torch.zeros_like(like)
    value = torch.eye(length, device=like.device, dtype=like.dtype).expand(*like.shape[:2], -1, -1)
    everything = torch.ones(like.size(0), 1, 1, length, dtype=torch.bool, device=like.device)
    with torch.no_grad():
        out = F.scaled_dot_product_attention(query, query, value, everything, rate)
    return (out == 0).double().mean().item()

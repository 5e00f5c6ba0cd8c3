"""What a trace says of a device: its kernels, their time, and the gaps between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from minbert.experiments.measuring.profiling import in_trace, kernels_of

CPU = torch.device("cpu")


def event(name: str, begin: float, end: float, cat: str = "kernel") -> dict[str, object]:
    return {"name": name, "cat": cat, "ts": begin, "dur": end - begin}


def test_kernels_are_counted_with_the_gaps_between_them() -> None:
    events = [
        event("second", 30, 40),
        event("first", 10, 20),
        event("within the second, on another stream", 32, 36),
        event("second", 45, 50, "gpu_memcpy"),
        event("aten::add", 0, 100, "cpu_op"),
        {"name": "no category"},
    ]
    found = in_trace(events)
    assert found.count == 4
    assert {name: count for name, (count, _) in found.by_name.items()} == {
        "first": 1,
        "second": 2,
        "within the second, on another stream": 1,
    }
    assert found.busy == pytest.approx(29e-6)
    assert found.span == pytest.approx(40e-6)
    assert found.gaps == pytest.approx(15e-6)


def test_a_cpu_has_no_kernels_and_keeps_a_trace(tmp_path: Path) -> None:
    found = kernels_of(lambda: torch.ones(2) + 1, CPU, tmp_path / "trace.json")
    assert (found.count, found.busy, found.span, found.gaps) == (0, 0, 0, 0)
    names = {e["name"] for e in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert "aten::add" in names

"""torch's profiler, set up alike for every measurement; and the kernels that a GPU was given."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from minbert.support.device import wait_for

_ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")  # as traces name what a device does


def profiler(device: torch.device, **settings: Any) -> profile:
    """A profiler of the host and, on CUDA, of the device; a context manager."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes to stderr
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    return profile(activities=activities, **settings)


@dataclass(frozen=True)
class Kernels:
    """What a device was given: kernels and copies, by name their number and seconds."""

    by_name: Mapping[str, tuple[int, float]]
    span: float  # seconds from the first one's start to the last one's end
    gaps: float  # seconds in between in which nothing ran

    @property
    def count(self) -> int:
        """The number of kernels and copies."""
        return sum(count for count, _ in self.by_name.values())

    @property
    def busy(self) -> float:
        """The seconds in which they ran."""
        return sum(seconds for _, seconds in self.by_name.values())


def kernels_of(
    work: Callable[[], object], device: torch.device, trace: Path | None = None
) -> Kernels:
    """The kernels that `work` launches; on a CPU there are none. `trace` keeps the whole trace."""
    with profiler(device) as profiled:
        work()
        wait_for(device)
    with tempfile.TemporaryDirectory() as folder:
        path = trace or Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        return in_trace(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])


def in_trace(events: list[dict[str, Any]]) -> Kernels:
    """The kernels among a trace's events, whose times are in microseconds."""
    found = sorted(_kernels(events), key=lambda kernel: kernel[1])
    by_name: dict[str, tuple[int, float]] = {}
    end = found[0][1] if found else 0.0
    first, gaps = end, 0.0
    for name, start, taken in found:
        count, seconds = by_name.get(name, (0, 0.0))
        by_name[name] = (count + 1, seconds + taken)
        gaps += max(start - end, 0.0)
        end = max(end, start + taken)
    return Kernels(by_name, end - first, gaps)


def _kernels(events: list[dict[str, Any]]) -> Iterator[tuple[str, float, float]]:
    for event in events:
        if event.get("cat") in _ON_DEVICE:
            yield event["name"], event["ts"] / 1e6, event["dur"] / 1e6

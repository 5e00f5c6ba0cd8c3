"""The time and memory that a training step takes on this machine, in interleaved rounds."""

from __future__ import annotations

import copy
import gc
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch

from minbert.data.batches import Batch
from minbert.encoder.bert import BertModel
from minbert.experiments.measuring.profiling import profiler
from minbert.finetune.build import as_it_runs, build_model, build_optimizer
from minbert.finetune.config import RunConfig
from minbert.model import MultitaskBert
from minbert.regularizers.registry import build_objective
from minbert.support.device import wait_for
from minbert.support.randomness import derive_seed
from minbert.training.optimizer import AdamW
from minbert.training.plan import TrainingObjective


@dataclass(frozen=True)
class Trial:
    """A method about to train, with weights, moments and averages of its own."""

    model: MultitaskBert
    objective: TrainingObjective[MultitaskBert, Batch]
    optimizer: AdamW
    batch: Batch

    @classmethod
    def prepare(cls, config: RunConfig, encoder: BertModel, batch: Batch) -> Trial:
        """A trial on the batch's device, with a copy of `encoder`; `config` is resolved.

        It makes one step, so that gradients and moments have their memory before anything is timed.
        On a GPU that step is recorded (`training/cuda_graphs.py`), and others will replay it.
        """
        device = batch.labels.device
        model = build_model(config, copy.deepcopy(encoder), device).to(device)
        whole = build_objective(config, model, steps=1)
        objective = as_it_runs(config, whole, device, halves=False)
        trial = cls(model, objective, build_optimizer(config, model), batch)
        if device.type == "cuda":  # the first passes of a shape are not recorded
            objective.backward(model, batch, seed=1)
            trial.optimizer.zero_grad()
        trial.step()
        return trial

    def step(self) -> None:
        """Make a training step, without what only the log needs."""
        self.objective.backward(self.model, self.batch, seed=1)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.objective.after_step(self.model)

    def seconds(self) -> float:
        """The seconds of a step, until the device has done it."""
        return seconds_of(self.step, self.batch.labels.device)


def peak_memory(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes of tensors on the device at the highest point of `work`; None for other devices.

    CUDA's allocator keeps the peak itself, including what lay there before. The CPU's allocator
    does not, so the profiler lists every allocation in `work`. The count has what tensors and
    kernels hold (weights, gradients, moments, the graph), and not the interpreter and its
    libraries, which would add the same to every method.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device)
    return _peak_on_cpu(work) if device.type == "cpu" else None


def peak_of_first_steps(make: Callable[[], Trial], device: torch.device) -> int | None:
    """Bytes at the highest point of making a trial, which makes a step, and of its next step."""
    return peak_memory(lambda: make().step(), device)


def _peak_on_cpu(work: Callable[[], object]) -> int:
    with profiler(torch.device("cpu"), profile_memory=True) as profiled:
        work()
        gc.collect()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    changes.sort(key=lambda event: event["ts"])
    held = np.cumsum([event["args"]["Bytes"] for event in changes])
    return int(held.max(initial=0))


def interleaved(
    measures: Mapping[str, Callable[[], float]],
    rounds: int,
    then: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """The values of each measure by its name, one for each round; `then` is called after each.

    A round calls every measure once, in random order, so that a machine that slows down, or heats
    up in a fixed pattern, favours none of them.
    """
    values: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        order = list(measures)
        Random(derive_seed(0, "order of a round", number)).shuffle(order)  # noqa: S311
        for name in order:
            values[name].append(measures[name]())
            then()
    return values


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """The seconds that `work` takes, from an idle device until the device has done it."""
    wait_for(device)
    began = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began

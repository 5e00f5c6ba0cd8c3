"""The settings, encoder and batch that the costs of all methods are measured with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from minbert.data.batches import Batch, Padded
from minbert.encoder.bert import BertModel
from minbert.experiments.cost.methods import CostedMethod
from minbert.experiments.measuring import ledger
from minbert.experiments.measuring.batch import random_batch, real_batch
from minbert.experiments.measuring.command import on_device
from minbert.experiments.measuring.trial import Trial
from minbert.finetune.build import build_model
from minbert.finetune.config import RunConfig
from minbert.regularizers.registry import build_objective
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS
from minbert.training.record import machine


@dataclass(frozen=True)
class Workload:
    """The job, encoder and batch of all methods; `job` is resolved, its precision decided."""

    job: RunConfig
    encoder: BertModel
    batch: Batch

    @classmethod
    def prepare(cls, job: RunConfig, length: int | None) -> Workload:
        """Load the encoder and read the batch, or draw one of this length. Raises InputError."""
        job, device = on_device(job)
        encoder = BertModel.from_pretrained(str(job.weights), job.attention)
        if length is None:
            return cls(job, encoder, real_batch(job, encoder, device))
        return cls(job, encoder, _random_batch(job, encoder, length, device))

    @property
    def tokens(self) -> Padded:
        """The batch's tokens."""
        assert self.batch.tokens is not None
        return self.batch.tokens

    @property
    def device(self) -> torch.device:
        """The device that the batch is on."""
        return self.batch.labels.device

    def job_with(self, method: CostedMethod) -> RunConfig:
        """The job with the method's settings."""
        return dataclasses.replace(self.job, **method.settings)

    def prepared(self, method: CostedMethod) -> Trial:
        """A trial of the method."""
        return Trial.prepare(self.job_with(method), self.encoder, self.batch)

    def seconds(self, method: CostedMethod) -> float:
        """The seconds of a step of the method."""
        return self.prepared(method).seconds()

    def count(self, method: CostedMethod) -> ledger.Count:
        """Count a step on shapes alone. Raises InputError where the heads cannot have it."""
        with ledger.shapes_only():
            cpu, shape, job = torch.device("cpu"), self.encoder.config, self.job_with(method)
            batch = _random_batch(job, self.encoder, self.tokens.input_ids.size(1), cpu)
            model = build_model(job, BertModel(shape, "reference"), cpu)
            return ledger.count(model, build_objective(job, model, steps=1), batch)

    def facts(self) -> dict[str, object]:
        """The facts that the numbers hold for."""
        texts, tokens = self.tokens.input_ids.shape
        return {
            "weights": self.job.weights,
            "layers": self.encoder.config.num_hidden_layers,
            "hidden_size": self.encoder.config.hidden_size,
            "task": self.batch.name,
            "examples": len(self.batch.ids),
            "texts": texts,
            "tokens": tokens,
            "real_tokens": self.tokens.real,
            "cross_encoder": self.job.cross_encoder,
            "rlayer": self.job.rlayer,
            "precision": self.job.precision,
            "machine": machine(self.device),
        }

    def __str__(self) -> str:
        return described(self.facts(), device=self.device.type, torch=torch.__version__)


def described(facts: Mapping[str, Any], **others: str) -> str:
    """A line of a workload's `facts()`, in which `others` take the place of some."""
    machine = facts["machine"]
    return (
        "{examples} examples of {task}, {texts} texts padded to {tokens} tokens; {weights}, "
        "{layers} layers of {hidden_size}; {device}, {precision}, threads: {threads}, torch {torch}"
    ).format_map({**facts, **machine, **machine["versions"], **others})


def _random_batch(job: RunConfig, encoder: BertModel, length: int, device: torch.device) -> Batch:
    positions, vocab_size = encoder.config.longest, encoder.config.vocab_size
    if length > positions:
        raise InputError(f"--length {length}: the encoder has {positions} positions")
    (task,), size = job.trained_tasks, job.batch_size
    assert size is not None
    views = 1 if job.cross_encoder else len(TASKS[task].text_columns)
    return random_batch(task, size, length, views=views, vocab_size=vocab_size, device=device)

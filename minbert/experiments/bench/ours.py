"""This package as a contender: the main job without its log and its checkpoints."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from minbert.data.batches import Batch, Dataset
from minbert.experiments.bench import contender
from minbert.experiments.bench.contender import METHODS, WORKS, Material, TokenCount, update_alone
from minbert.experiments.measuring.trial import Trial
from minbert.finetune import evaluate
from minbert.finetune.build import build_model, build_optimizer
from minbert.finetune.build_data import build_tokenizer, encoded
from minbert.regularizers.registry import build_objective
from minbert.training.sampling import TaskSampler

_SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smart": {
        "smart": True,
        "smart_dropout": "independent",  # as the usual way has it
        "smart_lambda": contender.SMART_WEIGHT,
        "smart_epsilon": contender.RADIUS,
        "smart_sigma": contender.START,
        "smart_eta": contender.ASCENT,
        "bregman_beta": contender.MEMORY,
    },
    "r3f": {"r3f": True, "r3f_lambda": contender.R3F_WEIGHT, "r3f_sigma": contender.NOISE},
}


class Ours:
    """`minbert`, as the main job uses it."""

    name = "minbert"
    works: Sequence[str] = tuple(WORKS)

    def __init__(self, material: Material) -> None:
        self._material = material
        self._data = self._encoded()

    def loss(self, count: int) -> float:
        """The task's loss of the first rows as one batch, without dropout, in fp32."""
        batch = self._data.batch(np.arange(count), self._material.device)
        with torch.no_grad():
            return batch.task.loss(self._material.model(batch), batch.labels).item()

    def prepared(self, work: str, batch_size: int) -> Callable[[int], TokenCount]:
        """The work as a function, to be called with the number of the time."""
        if work in ("inference", "int8"):
            return self._inference(int8=work == "int8")
        if work == "frozen":
            return self._frozen_epoch(batch_size)
        trial = self.trial(METHODS.get(work, "plain"))
        if work == "adamw":
            return update_alone(trial.model.parameters(), trial.optimizer)
        count = self._material.rows_of(work, batch_size)

        def steps(number: int) -> TokenCount:
            data = self._encoded(count) if work == "epoch" else self._data
            return _trained(trial, self.batches(data, count, batch_size, number))

        return steps

    def trial(self, method: str, option: str = "finetune") -> Trial:
        """A model about to train with a method, with the job's dropout."""
        material, device = self._material, self._material.device
        job = dataclasses.replace(material.job, option=option, lr=contender.LR, **_SETTINGS[method])
        model = build_model(job, copy.deepcopy(material.encoder), device).to(device)
        batch = self._data.batch(np.arange(1), device)
        objective = build_objective(job, model, steps=1)
        return Trial(model, objective, build_optimizer(job, model), batch)

    def batches(self, data: Dataset, count: int, batch_size: int, number: int) -> Iterator[Batch]:
        """The first `count` rows of `data`, as epoch `number` batches them."""
        sampler = TaskSampler(self._material.task, data.lengths[:count], seed=0)
        for rows in sampler.batches(number, number * count, count, batch_size):
            yield data.batch(rows, self._material.device)

    def drawn(self, work: str, batch_size: int, number: int) -> Iterator[Batch]:
        """The batches of a stretch of steps."""
        count = self._material.rows_of(work, batch_size)
        return self.batches(self._data, count, batch_size, number)

    def _encoded(self, count: int | None = None) -> Dataset:
        """The first `count` rows, by default all, tokenised."""
        split = self._material.split
        split = dataclasses.replace(split, examples=split.examples[:count])
        job = self._material.job
        return encoded(job, split, build_tokenizer(job, self._material.encoder.config))

    def _inference(self, *, int8: bool) -> Callable[[int], TokenCount]:
        material = self._material
        data = self._first(material.rows_of("inference", 1))
        job = dataclasses.replace(material.job, int8=int8)
        model = build_model(job, material.encoder, material.device).to(material.device)

        def work(_number: int) -> TokenCount:
            evaluate.predict(model, data, "inference")
            return TokenCount()

        return work

    def _first(self, count: int) -> Dataset:
        data = self._data
        return dataclasses.replace(
            data, ids=data.ids[:count], labels=data.labels[:count], rows=data.rows[:count]
        )

    def _frozen_epoch(self, batch_size: int) -> Callable[[int], TokenCount]:
        trial = self.trial("plain", option="pretrain")
        count = self._material.rows_of("frozen", batch_size)
        data = self._first(count)
        kept = data.with_features(evaluate.encode_texts(trial.model, data, "first epoch"))
        return lambda number: _trained(trial, self.batches(kept, count, batch_size, number))


def _trained(trial: Trial, batches: Iterator[Batch]) -> TokenCount:
    tokens = TokenCount()
    for batch in batches:
        dataclasses.replace(trial, batch=batch).step()
        tokens.add(batch.real_tokens, batch.padded_tokens)
    return tokens

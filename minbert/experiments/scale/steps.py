"""The training steps that the scale study measures: one thing grows, the rest stays."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.experiments.measuring.batch import random_batch
from minbert.experiments.measuring.trial import Trial, peak_of_first_steps
from minbert.experiments.scale import data
from minbert.experiments.scale.config import ScaleConfig
from minbert.finetune.config import RunConfig
from minbert.support.signals import StopRequest
from minbert.training import group


def encoder_of(job: RunConfig, changed: Mapping[str, int]) -> BertModel:
    """An encoder of the job's shape with random weights, and the layers or positions `changed`."""
    shape = EncoderConfig.from_file(Path(str(job.weights)) / "config.json")
    positions = max(shape.longest, changed.get("lengths", 0)) + shape.first_position
    layers = changed.get("layers", shape.num_hidden_layers)
    shape = dataclasses.replace(shape, num_hidden_layers=layers, max_position_embeddings=positions)
    return BertModel(shape, job.attention)


def trial_of(
    config: ScaleConfig,
    job: RunConfig,
    changed: Mapping[str, int],
    encoder: BertModel,
    device: torch.device,
) -> Trial:
    """A trial of a copy of the encoder, on random ids; `changed` has the axis that grows."""
    batch = random_batch(
        data.TASK,
        changed.get("batch_sizes", config.batch_size),
        changed.get("lengths", config.length),
        views=2,
        vocab_size=encoder.config.vocab_size,
        device=device,
    )
    return Trial.prepare(job, encoder, batch)


def of_ranks(
    config: ScaleConfig, job: RunConfig, count: int, device: torch.device
) -> tuple[list[float], int | None]:
    """A step that `count` ranks share: seconds of each round, and one rank's memory.

    Raises InputError where the device has no place for so many.
    """
    work = partial(_timed, config, job, device)
    return work(StopRequest()) if count == 1 else group.launch(count, work)


def _timed(
    config: ScaleConfig, job: RunConfig, device: torch.device, _stop: StopRequest
) -> tuple[list[float], int | None]:
    group.take(device)
    make = partial(trial_of, config, job, {}, encoder_of(job, {}), device)
    peak = peak_of_first_steps(make, device)
    trial = make()
    trial.seconds()
    return [trial.seconds() for _ in range(config.rounds)], peak

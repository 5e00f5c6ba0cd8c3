"""The batch that costs are measured on: real rows, or random ids of one length."""

from pathlib import Path

import numpy as np
import torch

from minbert.data.batches import Batch, Padded, computed_positions
from minbert.data.reading import read_split
from minbert.encoder.bert import BertModel
from minbert.finetune.build_data import build_tokenizer, encoded
from minbert.finetune.config import RunConfig
from minbert.support.device import to_device
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed, generator
from minbert.tasks.registry import TASKS


def real_batch(config: RunConfig, encoder: BertModel, device: torch.device) -> Batch:
    """The first `batch_size` rows of the train file of the one task that trains.

    Raises InputError where the file has fewer.
    """
    (name,), size = config.trained_tasks, config.batch_size
    path = Path(config.file(name, "train"))
    split = read_split(TASKS[name], "train", path, limit=size)
    if len(split.examples) != size:
        raise InputError(
            f"{path}: {len(split.examples)} usable rows among the first {size}; "
            "lower --batch_size, or give --length for random ids"
        )
    dataset = encoded(config, split, build_tokenizer(config, encoder.config))
    return dataset.batch(np.arange(size), device)


def random_batch(
    task: str,
    size: int,
    length: int,
    *,
    views: int,
    vocab_size: int,
    device: torch.device,
    shortest: int | None = None,
) -> Batch:
    """A batch of `size` examples with `views` texts each, all of `length` random tokens.

    With `shortest`, the first text has `length` tokens, and the others from `shortest` to `length`.
    """
    source = generator(derive_seed(0, "random ids"))
    ids = torch.randint(vocab_size, (views * size, length), generator=source)
    lengths = np.full(len(ids), length)
    if shortest is not None:
        lengths[1:] = np.random.default_rng(0).integers(shortest, length + 1, len(ids) - 1)
    mask = torch.from_numpy((np.arange(length) < lengths[:, None]).astype(np.int64))
    ids, mask = to_device(ids * mask, device), to_device(mask, device)
    computed = computed_positions(lengths, length, device)
    tokens = Padded(ids, mask, torch.zeros_like(ids), lengths, one_type=True, computed=computed)
    labels = (torch.arange(size, device=device) % 2).float()  # a label of every task
    names = tuple(str(number) for number in range(size))
    return Batch(TASKS[task], names, labels, views, tokens)

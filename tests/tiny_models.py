"""Tiny random models and batches for the tests of what is differentiated.

Unlike those of `helpers.py` every weight is sizeable, so that no gradient is 0 by a symmetry.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from minbert.data.batches import Batch, Padded
from minbert.encoder.bert import BertModel
from minbert.finetune.build import build_head
from minbert.model import MultitaskBert
from minbert.tasks import heads
from minbert.tasks.registry import TASKS
from tests.helpers import TINY

PAIRS = frozenset({"para", "sts"})


@dataclasses.dataclass(frozen=True)
class Case:
    """A task and the form of its head: `bi` (its own), `cross` (one vector), `relational`."""

    task: str
    form: str

    @property
    def views(self) -> int:
        """Texts an example that go through the encoder."""
        return 2 if self.task in PAIRS and self.form in ("bi", "relational") else 1

    def __str__(self) -> str:
        return f"{self.task}-{self.form}"


CASES = (
    Case("sst", "bi"),
    *(Case(task, form) for task in ("para", "sts") for form in ("bi", "cross", "relational")),
    Case("sts", "cross-relational"),
)


def tiny_model(
    case: Case,
    *,
    dropout: float = 0.1,
    head_dropout: float = 0.3,
    dtype: torch.dtype = torch.float64,
    pooling: str = "cls",
    spread: float = 0.3,
    autocast: torch.dtype | None = None,
    frozen: bool = False,
    frozen_dropout: bool = False,
    attention: str = "reference",
    split_products: bool = False,
) -> MultitaskBert:
    """A model with a head for `case` and one for sst, every weight and bias random and sizeable.

    The same weights at every call, whatever the rates and the precision.
    """
    torch.manual_seed(11)
    shape = TINY.with_dropout(dropout)
    rlayer = "relational" in case.form
    own = {
        name: build_head(TASKS[name], shape.hidden_size, case.views, rlayer=rlayer)
        for name in dict.fromkeys((case.task, "sst"))
    }
    model = MultitaskBert(
        BertModel(shape, attention),
        own,
        relational=heads.RelationalLayer(shape.hidden_size, case.views) if rlayer else None,
        relational_tasks=PAIRS,
        pooling=pooling,
        head_dropout=head_dropout,
        autocast=autocast,
        split_products=split_products,
        frozen_encoder=frozen,
        frozen_dropout=frozen_dropout,
    )
    randomize(model, spread)
    return model.to(dtype)


def randomize(model: nn.Module, spread: float) -> None:
    """Add N(0, spread²) to every weight, so that no gradient is 0 by a symmetry of the start."""
    source = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for param in model.parameters():
            param += spread * torch.randn(param.shape, generator=source)


def tiny_batch(case: Case, *, lengths: Sequence[int] | None = None, seed: int = 3) -> Batch:
    """Random token ids: by default three examples whose texts differ in length."""
    lengths = lengths or ((7, 4, 5, 3, 6, 7) if case.views == 2 else (7, 4, 5))
    size, longest = len(lengths) // case.views, max(lengths)
    source = torch.Generator().manual_seed(seed)
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    ids = torch.randint(5, TINY.vocab_size, mask.shape, generator=source) * mask
    types = (torch.arange(longest) >= 3).long() * mask
    labels = torch.arange(size) % 2 if case.task == "para" else torch.arange(size) % 5
    return Batch(
        task=TASKS[case.task],
        ids=tuple(f"id{index}" for index in range(size)),
        labels=labels.float(),
        views=case.views,
        tokens=Padded(
            ids,
            mask,
            types if "cross" in case.form else torch.zeros_like(types),
            np.asarray(lengths),
        ),
    )


def take(batch: Batch, indices: Sequence[int]) -> Batch:
    """The same batch with only the examples at `indices`, in that order, padding left as it is."""
    assert batch.tokens is not None
    rows = view_rows(batch, indices)
    tokens = batch.tokens
    return dataclasses.replace(
        batch,
        ids=tuple(batch.ids[index] for index in indices),
        labels=batch.labels[list(indices)],
        tokens=Padded(
            tokens.input_ids[rows],
            tokens.attention_mask[rows],
            tokens.token_type_ids[rows],
            tokens.lengths[rows],
        ),
    )


def padded(batch: Batch, columns: int) -> Batch:
    """The same examples in rows longer by so many columns of padding."""
    assert batch.tokens is not None
    own = batch.tokens
    ids, mask, types = (
        nn.functional.pad(rows, (0, columns))
        for rows in (own.input_ids, own.attention_mask, own.token_type_ids)
    )
    return dataclasses.replace(batch, tokens=Padded(ids, mask, types, own.lengths))


def view_rows(batch: Batch, indices: Sequence[int]) -> list[int]:
    """Where the texts of the examples at `indices` lie among a batch's rows."""
    size = len(batch.ids)
    return [view * size + index for view in range(batch.views) for index in indices]


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Every trained parameter's gradient, zeros where it has none; then forget them."""
    found = {
        name: torch.zeros_like(param) if param.grad is None else param.grad.detach().clone()
        for name, param in model.named_parameters()
        if param.requires_grad
    }
    model.zero_grad()
    return found


def assert_gradients_agree(
    ours: dict[str, Tensor],
    expected: dict[str, Tensor],
    relative: float,
    negligible: float = 1e-6,
) -> None:
    """Every parameter's gradient within `relative` of the expected one's norm.

    A gradient that is zero but for rounding (a key's bias cannot change a softmax) is measured
    against a `negligible` share of the largest norm instead.
    """
    assert ours.keys() == expected.keys()
    floor = negligible * max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():
        distance = float((ours[name].to(gradient.dtype) - gradient).norm())
        assert distance <= relative * max(float(gradient.norm()), floor), name

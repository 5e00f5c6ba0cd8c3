"""The reference library's training step on our batch: as one uses it, tuned, and compiled."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import nn

from minbert.data.batches import Batch
from minbert.experiments.bench import peer_terms, peers
from minbert.experiments.bench.contender import LR
from minbert.experiments.bench.peers import PeerBatch, PeerModel
from minbert.experiments.gpu.material import Setting
from minbert.support.device import wait_for

AS_USED, TUNED, COMPILED = "as used", "tuned", "tuned and compiled"
_METHODS = {"plain": "plain", "SMART": "smart", "R3F": "r3f"}  # those that the bench has of it


def is_there() -> bool:
    """Whether the library is installed."""
    return find_spec("transformers") is not None


def prepared(
    setting: Setting, method: str, batch: Batch, precision: str, *kinds: str
) -> dict[str, Callable[[], None]]:
    """A training step of each kind that has been made once; none where the library is absent.

    As used: fp32, torch's default AdamW, a pass for each text of a pair. Tuned: fused AdamW, one
    pass for both texts, and `precision`. Attention is torch's kernel either way.
    """
    if method not in _METHODS or not is_there():
        return {}
    lowered = {kind: kind != AS_USED and precision == "bf16" for kind in kinds}
    return {kind: _step(setting, _METHODS[method], batch, kind, lowered[kind]) for kind in kinds}


def _step(
    setting: Setting, method: str, batch: Batch, kind: str, lowered: bool
) -> Callable[[], None]:
    device, tuned = batch.labels.device, kind != AS_USED
    model = PeerModel(_encoder(setting), nn.Linear(3 * setting.sizes.shape.hidden_size, 1), 0.3)
    model = model.to(device).train()
    if kind == COMPILED:
        model.encoder.compile(dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, fused=tuned or None)
    terms = peer_terms.make(method, "own", model, batch.task.divergence)
    inputs = PeerBatch(list(_inputs(batch, together=tuned)), batch.labels, batch.views)
    step = partial(peers.train_step, model, terms, optimizer, inputs, lowered=lowered)
    step()  # so that gradients and moments have their memory, and what compiles is compiled
    wait_for(device)
    return step


def _encoder(setting: Setting) -> nn.Module:
    library = import_module("transformers")
    config = library.BertConfig(**setting.sizes.shape.to_published())
    encoder: nn.Module = library.BertModel(config)
    return encoder


def _inputs(batch: Batch, *, together: bool) -> Iterator[Mapping[str, torch.Tensor]]:
    """The texts as the library takes them: one tensor for all, or one for each text of a pair."""
    assert batch.tokens is not None
    named = {"input_ids": batch.tokens.input_ids, "attention_mask": batch.tokens.attention_mask}
    if together:
        yield named
        return
    for view in range(batch.views):
        yield {name: rows.chunk(batch.views)[view] for name, rows in named.items()}

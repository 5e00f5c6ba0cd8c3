"""The pretraining objective: pieces add up to the batch, and held-out text is scored exactly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minbert.pretrain.masking import Masker
from minbert.pretrain.model import PretrainingBert
from minbert.pretrain.objective import (
    Piece,
    PieceObjective,
    PretrainingObjective,
    mask_rows,
    piece_losses,
    pieces,
    score_held_out,
    text_batch,
)
from minbert.pretrain.shards import TRAIN, PackedText, Recipe, cached
from minbert.training.optimizer import AdamW
from tests.helpers import VOCAB, make_tokenizer, same_tensors
from tests.pretrain.test_model import tiny
from tests.pretrain.texts import random_documents, write_documents
from tests.training.replays import Again, replayed, shape_as_on_a_gpu

MASKER = Masker(VOCAB, 0.15, whole_words=False)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> PackedText:
    folder = tmp_path_factory.mktemp("text")
    path = write_documents(folder / "a.txt", random_documents(80))
    recipe = Recipe(length=24, pairs=True, held_out=0.2, seed=0)
    return PackedText(cached(folder, [path], make_tokenizer(2**20), recipe), TRAIN)


@pytest.mark.parametrize("piece", [1, 3, 9])
@pytest.mark.parametrize("pairs", [True, False])
def test_pieces_add_up_to_the_batch(text: PackedText, piece: int, pairs: bool) -> None:
    model = tiny(dropout=0.0, next_sentence=pairs).double()
    values, grads = gradients_of(model, text, 10)
    in_pieces, grads_in_pieces = gradients_of(model, text, piece)
    assert values.keys() == in_pieces.keys()
    for name, value in values.items():
        assert in_pieces[name] == pytest.approx(value, rel=1e-12)
    for name, grad in grads.items():
        torch.testing.assert_close(grads_in_pieces[name], grad, rtol=1e-9, atol=1e-12)


def gradients_of(
    model: PretrainingBert, text: PackedText, piece: int
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    model.zero_grad()
    batch = text_batch(text, np.arange(10))
    values = PretrainingObjective(MASKER, piece).backward(model, batch, 4)
    grads = {
        name: param.grad.clone()
        for name, param in model.named_parameters()
        if param.grad is not None
    }
    return {name: value.item() for name, value in values.items()}, grads


def test_a_gpus_shapes_change_nothing(text: PackedText, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows padded to multiples of 8, and masked words filled up to multiples of 32."""
    model = tiny(dropout=0.0).double()
    values, grads = gradients_of(model, text, 4)
    shape_as_on_a_gpu(monkeypatch)
    rows = text.take(np.arange(3))
    (piece,) = pieces(rows, mask_rows(MASKER, rows, 4), 4, torch.device("cpu"))
    assert piece.tokens.input_ids.size(1) % 8 == len(piece.targets) % 32 == 0
    same, same_grads = gradients_of(model, text, 4)
    assert same == pytest.approx(values, rel=1e-12)
    for name, grad in grads.items():
        torch.testing.assert_close(same_grads[name], grad, rtol=1e-9, atol=1e-12)


def test_replayed_pieces_are_the_pieces(text: PackedText, monkeypatch: pytest.MonkeyPatch) -> None:
    shape_as_on_a_gpu(monkeypatch)
    found, again = [], None
    for replays in (False, True):
        model = tiny()
        if replays:
            again = Again(model)
        own = replayed(PieceObjective(), again) if again else None
        objective, optimizer = PretrainingObjective(MASKER, 4, own), AdamW(model.parameters())
        for step in range(6):
            batch = text_batch(text, np.arange(10) + step)
            objective.backward(model, batch, step, step)
            optimizer.step()
            optimizer.zero_grad()
        found.append(model.state_dict())
    assert again is not None and again.replays > again.recorded > 0
    assert same_tensors(*found)


def test_the_loss_is_the_mean_over_masked_words_plus_that_over_rows(text: PackedText) -> None:
    model = tiny(dropout=0.0)
    values, _ = gradients_of(model, text, 10)
    rows = text.take(np.arange(10))
    masked = mask_rows(MASKER, rows, 4)
    place = torch.arange(masked.input_ids.size(1))
    lengths, b_starts = (torch.from_numpy(own)[:, None] for own in (rows.lengths, rows.b_starts))
    real = place < lengths
    outputs = model.encoder(masked.input_ids, real.long(), (real & (place >= b_starts)).long())
    hidden = outputs["last_hidden_state"]
    words = model.mlm(hidden, model.encoder.word_embeddings.weight).flatten(0, 1)
    of_words = F.cross_entropy(words[masked.positions], masked.targets)
    of_rows = F.cross_entropy(model.nsp(outputs["pooler_output"]), torch.from_numpy(rows.is_random))
    assert values["mlm_loss"] == pytest.approx(of_words.item(), rel=1e-5)
    assert values["nsp_loss"] == pytest.approx(of_rows.item(), rel=1e-5)
    assert values["loss"] == pytest.approx((of_words + of_rows).item(), rel=1e-5)


def test_the_seed_decides_masks_and_dropout(text: PackedText) -> None:
    model = tiny()
    objective, batch = PretrainingObjective(MASKER, 4), text_batch(text, np.arange(10))
    first, again, other = (objective.backward(model, batch, seed)["loss"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_parts_draw_the_dropout_of_their_rows(
    text: PackedText, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row alone has the same masks in the whole batch and in a part of it, and rows differ."""
    seeds: list[int] = []

    def noted(model: PretrainingBert, piece: Piece, mask_seed: int) -> dict[str, torch.Tensor]:
        seeds.append(mask_seed)
        return piece_losses(model, piece, mask_seed)

    monkeypatch.setattr("minbert.pretrain.objective.piece_losses", noted)
    batch, model = text_batch(text, np.arange(5)), tiny()
    PretrainingObjective(MASKER, 1).backward(model, batch, 4)
    whole, seeds[:] = tuple(seeds), []
    for first in range(2):
        PretrainingObjective(MASKER, 1).backward(model, *batch.part(slice(first, None, 2), 4)[::2])
    assert len(set(whole)) == 5 and sorted(seeds) == sorted(whole)


def test_a_batch_counts_its_tokens(text: PackedText) -> None:
    batch = text_batch(text, np.arange(10))
    lengths = text.take(np.arange(10)).lengths
    assert batch.real_tokens == lengths.sum()
    assert batch.padded_tokens == 10 * lengths.max()
    assert len(batch.ids) == 10


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_held_out_scores_do_not_hang_on_the_pieces(text: PackedText, piece: int) -> None:
    model = tiny()
    scored = score_held_out(model, text.sample(50), MASKER, piece)
    again = score_held_out(model, text.sample(50), MASKER, 16)
    assert scored.scores == pytest.approx(again.scores, rel=1e-5)
    assert scored.scores["perplexity"] == pytest.approx(math.exp(scored.scores["mlm loss"]))
    assert 0 <= scored.scores["nsp accuracy"] <= 1
    assert scored.criterion < -scored.scores["mlm loss"]


def test_a_model_that_knows_nothing_scores_like_chance(text: PackedText) -> None:
    model = tiny()
    with torch.no_grad():
        for param in model.parameters():
            param.zero_()
    scored = score_held_out(model, text.sample(len(text)), MASKER, 16)
    size = model.published.vocab_size
    assert scored.scores["perplexity"] == pytest.approx(size, rel=1e-5)
    assert scored.criterion == pytest.approx(-math.log(size) - math.log(2), rel=1e-5)


def test_without_pairs_there_is_no_accuracy(text: PackedText) -> None:
    scored = score_held_out(tiny(next_sentence=False), text.sample(40), MASKER, 16)
    assert list(scored.scores) == ["mlm loss", "perplexity"]
    assert scored.criterion == -scored.scores["mlm loss"]

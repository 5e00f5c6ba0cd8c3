"""The two heads: exact against the reference library, cheap, saved and loaded in its layout."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from minbert.data.batches import Padded
from minbert.encoder.bert import BertModel
from minbert.pretrain.model import PretrainingBert, fresh
from minbert.support.errors import InputError
from tests.helpers import TINY, VOCAB, save_encoder

NO_DROPOUT = TINY.with_dropout(0.0)


def tiny(seed: int = 0, spread: float = 0.3, **settings) -> PretrainingBert:
    """A model whose weights are all sizeable."""
    model = fresh(TINY, seed, **settings)
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for param in model.parameters():
            param += spread * torch.randn(param.shape, generator=source)
    model.encoder.vocab_files = {"vocab.txt": "".join(f"{t}\n" for t in VOCAB).encode()}
    return model


def random_tokens(
    rows: int = 6, length: int = 20, seed: int = 0, *, full: bool = False
) -> tuple[Padded, Tensor, Tensor]:
    """Inputs, without padding where `full`, positions of masked tokens and their targets."""
    source = torch.Generator().manual_seed(seed)
    lengths = torch.randint(length if full else 8, length + 1, (rows, 1), generator=source)
    place = torch.arange(length)
    real = place < lengths
    ids = torch.randint(5, TINY.vocab_size, (rows, length), generator=source) * real
    types = (real & (place >= 5)).long()
    chosen = real & (torch.rand(real.shape, generator=source) < 0.2)
    chosen[:, 1] = True
    positions = chosen.flatten().nonzero().squeeze(1)
    targets = torch.randint(5, TINY.vocab_size, positions.shape, generator=source)
    return Padded(ids, real.long(), types, lengths.flatten().numpy()), positions, targets


@pytest.mark.parametrize("full", [False, True], ids=["padded", "full rows"])
@pytest.mark.parametrize("attention", ["fused", "reference"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_both_losses_equal_the_reference_librarys(
    tmp_path: Path, attention: str, full: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    model = tiny(attention=attention)
    model.save_pretrained(tmp_path)
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path).eval()
    tokens, positions, targets = random_tokens(full=full)
    is_random = torch.tensor([0, 1, 1, 0, 1, 0])
    labels = torch.full_like(tokens.input_ids, -100).flatten()
    labels[positions] = targets
    expected = theirs(
        input_ids=tokens.input_ids,
        attention_mask=tokens.attention_mask,
        token_type_ids=tokens.token_type_ids,
        labels=labels.view_as(tokens.input_ids),
        next_sentence_label=is_random,
    )
    words, pairs = model(tokens, positions)
    cross_entropy = torch.nn.functional.cross_entropy
    logits = expected.prediction_logits.flatten(0, 1)[positions]
    torch.testing.assert_close(words, logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(pairs, expected.seq_relationship_logits, rtol=1e-5, atol=1e-5)
    ours = cross_entropy(words, targets) + cross_entropy(pairs, is_random)
    assert abs((ours - expected.loss).item()) < 1e-5
    ours.backward()
    expected.loss.backward()
    grown = theirs.get_input_embeddings().weight.grad
    torch.testing.assert_close(
        model.encoder.word_embeddings.weight.grad, grown, rtol=1e-4, atol=1e-5
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_pairs_it_is_a_masked_language_model_there(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = tiny(next_sentence=False)
    model.save_pretrained(tmp_path)
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    tokens, positions, _ = random_tokens()
    with torch.no_grad():
        expected = theirs(tokens.input_ids, tokens.attention_mask, tokens.token_type_ids).logits
        words, pairs = model(tokens, positions)
    assert pairs is None
    torch.testing.assert_close(words, expected.flatten(0, 1)[positions], rtol=1e-5, atol=1e-5)


def test_tokens_that_are_not_masked_cost_neither_logits_nor_the_last_layers_end() -> None:
    """Twice the masked tokens cost twice the head, and in the last layer what follows attention."""
    model, (tokens, positions, _) = tiny(attention="reference"), random_tokens()

    def flops(count: int) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(tokens, positions[:count])
        return counter.get_total_flops()

    size, wide = TINY.hidden_size, TINY.intermediate_size
    head, layer = size * (size + TINY.vocab_size), size * (size + 2 * wide)
    one = 2 * (head + layer)
    assert flops(8) - flops(0) == 8 * one
    assert flops(16) - flops(8) == 8 * one
    assert len(positions) > 16


def test_the_output_matrix_is_the_word_embeddings() -> None:
    model, (tokens, positions, _) = tiny(), random_tokens()
    before, _ = model(tokens, positions)
    with torch.no_grad():
        model.encoder.word_embeddings.weight[7] += 1.0  # also an input, if it occurs
        model.mlm.bias[8] += 3.0
    unused = not bool((tokens.input_ids == 7).any())
    after, _ = model(tokens, positions)
    changed = (after - before).abs().amax(dim=0) > 1e-4
    assert bool(changed[7])
    assert bool(changed[8])
    assert int(changed.sum()) == 2 or not unused
    assert sum("word_embeddings" in name for name in model.state_dict()) == 1


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    model = tiny()
    model.save_pretrained(tmp_path)
    other = fresh(TINY, 5)
    other.load_published(tmp_path)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert other.encoder.vocab_files == model.encoder.vocab_files


def test_the_encoder_alone_is_read_by_the_main_job(tmp_path: Path, caplog) -> None:
    model = tiny(dropout=0.0)
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, "minbert"):
        encoder = BertModel.from_pretrained(tmp_path)
    assert caplog.text == ""
    assert encoder.config.hidden_dropout_prob == TINY.hidden_dropout_prob
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor), name


def test_half_precision_halves_the_file_and_rounds(tmp_path: Path) -> None:
    model = tiny()
    model.save_pretrained(tmp_path / "full")
    model.save_pretrained(tmp_path / "half", torch.float16)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    other = fresh(TINY, 5)
    other.load_published(tmp_path / "half")
    for name, tensor in model.state_dict().items():
        read = other.state_dict()[name]
        assert read.dtype == torch.float32
        torch.testing.assert_close(read, tensor.half().float(), rtol=0, atol=0)


def test_an_encoder_without_heads_gets_fresh_ones_and_says_so(tmp_path: Path, caplog) -> None:
    folder = save_encoder(tmp_path, TINY)
    model = fresh(TINY, 3)
    before = {name: tensor.clone() for name, tensor in model._heads().items()}
    with caplog.at_level(logging.INFO, "minbert"):
        model.load_published(folder)
    assert "no whole mlm head" in caplog.text
    assert "no whole nsp head" in caplog.text
    assert all(torch.equal(model._heads()[name], tensor) for name, tensor in before.items())
    encoder = BertModel.from_pretrained(folder)
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], tensor), name


def test_half_a_head_is_none(tmp_path: Path, caplog) -> None:
    tiny().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["cls.predictions.bias"]
    save_file(tensors, path)
    model = fresh(TINY, 3)
    before = model.mlm.dense.weight.clone()
    with caplog.at_level(logging.INFO, "minbert"):
        model.load_published(tmp_path)
    assert "no whole mlm head" in caplog.text
    assert torch.equal(model.mlm.dense.weight, before)


def test_a_head_that_is_not_asked_for_is_left_out(tmp_path: Path, caplog) -> None:
    tiny().save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, "minbert"):
        fresh(TINY, 3, next_sentence=False).load_published(tmp_path)
    assert "begins fresh" not in caplog.text


def test_dropout_of_training_is_not_that_of_the_saved_encoder() -> None:
    tokens, positions, _ = random_tokens()
    quiet, noisy = tiny(dropout=0.0), tiny()
    for model, varies in ((quiet, False), (noisy, True)):
        first, second = (model(tokens, positions, seed)[0] for seed in (1, 2))
        assert torch.equal(first, second) is not varies
        assert torch.equal(model(tokens, positions, 1)[0], first)
        assert model.published == TINY


def test_the_seed_decides_the_fresh_weights() -> None:
    first, again, other = (fresh(TINY, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    assert not torch.equal(first["mlm.dense.weight"], other["mlm.dense.weight"])
    assert float(first["mlm.dense.weight"].std()) == pytest.approx(TINY.initializer_range, rel=0.2)


def test_scaled_embeddings_change_no_logit() -> None:
    model = tiny().double().eval()
    tokens, positions, _ = random_tokens()
    with torch.no_grad():
        before = model(tokens, positions)
        model.scale_embeddings(0.02)
        after = model(tokens, positions)
    torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-7)
    words = model.encoder.word_embeddings.weight.detach()
    places = model.encoder.position_embeddings.weight.detach()
    assert float(words.std()) == pytest.approx(0.02)
    assert float(places.std()) < 0.03  # with them, or their share in a token would change


@pytest.mark.parametrize(
    ("eps", "spread", "words"),
    [
        (1e-5, 0.3, "beside embeddings of 0.02"),
        (1e-12, 1e-4, "beside embeddings of 0.0001"),
        (1e-12, 0.0, "all the same"),
    ],
)
def test_embeddings_that_cannot_be_scaled(eps: float, spread: float, words: str) -> None:
    model = fresh(dataclasses.replace(TINY, layer_norm_eps=eps), 0)
    torch.nn.init.normal_(model.encoder.word_embeddings.weight, std=spread)
    with pytest.raises(InputError, match=f"--embedding_std.*{words}"):
        model.scale_embeddings(0.02)

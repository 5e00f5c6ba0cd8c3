"""The encoder against the published implementation: outputs, gradients, invariances.

Dimensions: B texts, T tokens, H hidden size.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.selection import cls_and_tokens_at, cls_token, every_token
from minbert.encoder.weights import _NAMES, _rename
from minbert.support.randomness import seeded
from tests.encoder.encoders import (
    Batch,
    assert_agree,
    batch_of,
    each_path,
    published_model,
    random_batch,
)

PUBLISHED_NAMES = {ours: published for published, ours in _NAMES}


@pytest.fixture(scope="module")
def sentences(course_data: Path, minilm: Path) -> list[list[int]]:
    """Token ids of 194 real sentences and 6 long reviews, cut to 96 tokens; shortest first."""
    texts = []
    for name, count in (("ids-sst-dev.csv", 194), ("ids-cfimdb-dev.csv", 6)):
        with (course_data / name).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        texts += [(row["sentence"],) for row in rows[:: len(rows) // count][:count]]
    encoded = WordPieceTokenizer.from_folder(minilm, 96).encode(texts)
    bounds = zip(encoded.starts[:-1], encoded.starts[1:], strict=True)
    return sorted((encoded.ids[start:end].tolist() for start, end in bounds), key=len)


# --------------------------------------------------------------- published weights, real texts


@pytest.fixture(scope="module")
def published(minilm: Path) -> Any:
    return published_model(minilm)


@pytest.fixture(scope="module")
def published_outputs(published: Any, sentences: list[list[int]]) -> list[tuple[Batch, Any]]:
    """What the reference library says of the 200 sentences, 20 of like length at a time."""
    batches = [batch_of(sentences[first : first + 20]) for first in range(0, 200, 20)]
    with torch.no_grad():
        return [(batch, published(**batch)) for batch in batches]


@each_path
def test_published_weights_on_real_sentences(
    published_outputs: list[tuple[Batch, Any]],
    minilm: Path,
    sentences: list[list[int]],
    attention: str,
) -> None:
    """In the same batches; with mixed lengths and more padding than needed; alone."""
    assert len(sentences) == 200
    assert max(map(len, sentences)) > 10 * min(map(len, sentences))
    model = BertModel.from_pretrained(minilm, attention).eval()
    pooled = torch.cat([expected["pooler_output"] for _, expected in published_outputs])
    with torch.no_grad():
        for batch, expected in published_outputs:
            assert_agree(model(**batch), expected, batch["attention_mask"], 1e-5)
        regrouped = torch.randperm(180)[:24].tolist()
        for company in (regrouped[:12], regrouped[12:]):
            batch = batch_of([sentences[i] for i in company], length=70)
            assert (model(**batch)["pooler_output"] - pooled[company]).abs().max() < 1e-5
        for i in range(0, 200, 25):
            alone = model(**batch_of([sentences[i]]))["pooler_output"][0]
            assert (alone - pooled[i]).abs().max() < 1e-5


@each_path
def test_published_weights_gradients(
    published: Any, minilm: Path, sentences: list[list[int]], attention: str
) -> None:
    """Every parameter's, of a fixed random projection of both outputs."""
    model = BertModel.from_pretrained(minilm, attention).eval()
    batch = batch_of(sentences[::25])
    assert_gradients_agree(model, published, batch, 1e-4)


def assert_gradients_agree(model: BertModel, published: Any, batch: Batch, bound: float) -> None:
    """Largest difference over largest gradient, parameter by parameter."""
    mask = batch["attention_mask"][..., None]
    shape = (*mask.shape[:2], model.config.hidden_size)
    dtype = model.pooler.weight.dtype
    onto = torch.randn(shape, dtype=dtype), torch.randn(shape[0], shape[2], dtype=dtype)
    for each in (model, published):
        each.zero_grad()
        out = each(**batch)
        hidden = (out["last_hidden_state"] * mask * onto[0]).sum()
        (hidden + (out["pooler_output"] * onto[1]).sum()).backward()
    theirs = dict(published.named_parameters())
    ours = dict(model.named_parameters())
    assert len(theirs) == len(ours)
    for name, param in ours.items():
        expected = theirs[str(_rename(name, PUBLISHED_NAMES))].grad
        assert param.grad is not None, name
        if name.endswith("attention.key.bias"):  # softmax ignores a common shift: zero but noise
            reference = ours[name.replace("bias", "weight")].grad
            assert reference is not None
            assert param.grad.abs().max() < bound * reference.abs().max(), name
            continue
        worst = (param.grad - expected).abs().max() / expected.abs().max()
        assert worst.item() < bound, name


# ------------------------------------------------------------------------- tiny random weights


@each_path
def test_random_weights_in_fp64(tiny_folder: Path, tiny: EncoderConfig, attention: str) -> None:
    ours = BertModel.from_pretrained(tiny_folder, attention).double().eval()
    theirs = published_model(tiny_folder).double()
    assert ours.config == tiny
    batch = random_batch(tiny)
    for inputs in (batch, {k: v for k, v in batch.items() if k != "token_type_ids"}):
        found, expected = ours(**inputs), theirs(**inputs)
        assert found["last_hidden_state"].dtype is torch.float64
        assert_agree(found, expected, batch["attention_mask"], 1e-12)
    assert_gradients_agree(ours, theirs, batch, 1e-10)


def test_a_folder_we_save_loads_there(tmp_path: Path, tiny: EncoderConfig) -> None:
    model = BertModel(tiny).eval()
    with torch.no_grad():
        for param in model.parameters():
            param.normal_(std=0.3)
    model.save_pretrained(tmp_path / "ours")
    theirs, batch = published_model(tmp_path / "ours"), random_batch(tiny)
    with torch.no_grad():
        assert_agree(model(**batch), theirs(**batch), batch["attention_mask"], 1e-5)


def test_a_folder_goes_there_and_back(tiny_folder: Path, tmp_path: Path) -> None:
    first = BertModel.from_pretrained(tiny_folder)
    first.save_pretrained(tmp_path / "ours")
    published_model(tmp_path / "ours").save_pretrained(tmp_path / "again")
    (tmp_path / "again" / "vocab.txt").write_bytes((tmp_path / "ours" / "vocab.txt").read_bytes())
    again = BertModel.from_pretrained(tmp_path / "again")
    assert again.config == first.config
    for (name, a), b in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


# ------------------------------------------------------------------------------- its own rules


@each_path
def test_batch_composition_does_not_matter(tiny: EncoderConfig, attention: str) -> None:
    """Order, company and padding change nothing but roundings."""
    model = BertModel(tiny, attention).double().eval()
    lengths = (9, 5, 1, 7)
    rows = [torch.randint(1, tiny.vocab_size, (n,)).tolist() for n in lengths]
    together = model(**batch_of(rows))
    order = [2, 0, 3, 1]
    permuted = model(**batch_of([rows[i] for i in order]))
    padded = model(**batch_of(rows, length=20))
    for i, row in enumerate(rows):
        alone = model(**batch_of([row]))
        for other, place in ((alone, 0), (permuted, order.index(i)), (padded, i)):
            for name, cut in (("last_hidden_state", slice(len(row))), ("pooler_output", ...)):
                torch.testing.assert_close(
                    other[name][place][cut], together[name][i][cut], rtol=1e-10, atol=1e-12
                )


@each_path
def test_the_first_token_alone_is_the_first_of_all(tiny: EncoderConfig, attention: str) -> None:
    """Its vectors, and the gradients they give to every weight and every token."""
    model, batch = BertModel(tiny, attention).double().eval(), random_batch(tiny)
    found = []
    for select in (every_token, cls_token):
        embeddings = model.embed(batch["input_ids"]).detach().requires_grad_()
        outputs = model.encode(embeddings, batch["attention_mask"], select=select)
        model.zero_grad()
        outputs["pooler_output"].pow(3).sum().backward()
        grads = [param.grad for param in model.layers.parameters()]
        first = outputs["last_hidden_state"][:, :1]
        found.append([first, outputs["pooler_output"], embeddings.grad, *grads])
    assert outputs["last_hidden_state"].shape[1] == 1
    for whole, alone in zip(*found, strict=True):
        torch.testing.assert_close(alone, whole, rtol=1e-10, atol=1e-14)


@each_path
def test_chosen_tokens_are_those_of_all(tiny: EncoderConfig, attention: str) -> None:
    """Their vectors and [CLS]'s, and the gradients they give to every weight and every token."""
    model, batch = BertModel(tiny, attention).double().eval(), random_batch(tiny)
    positions = batch["attention_mask"].flatten().nonzero().squeeze(1)[::3].contiguous()
    found = []
    for select in (every_token, cls_and_tokens_at(positions), cls_and_tokens_at(positions[:0])):
        embeddings = model.embed(batch["input_ids"]).detach().requires_grad_()
        outputs = model.encode(embeddings, batch["attention_mask"], select=select)
        hidden = outputs["last_hidden_state"]
        if select is every_token:
            hidden = hidden.flatten(0, 1)[positions]
        model.zero_grad()
        (hidden.pow(3).sum() + outputs["pooler_output"].pow(3).sum()).backward()
        grads = [param.grad for param in model.layers.parameters()]
        found.append([outputs["pooler_output"], hidden, embeddings.grad, *grads])
    whole, some, none = found
    for expected, value in zip(whole, some, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(none[0], whole[0], rtol=1e-10, atol=1e-14)
    assert none[1].shape == (0, tiny.hidden_size)


@each_path
def test_what_stands_at_padding_does_not_matter(tiny: EncoderConfig, attention: str) -> None:
    model, batch = BertModel(tiny, attention).double().eval(), random_batch(tiny)
    mask = batch["attention_mask"]
    garbage = torch.randint(1, tiny.vocab_size, mask.shape)
    other = {**batch, "input_ids": torch.where(mask.bool(), batch["input_ids"], garbage)}
    assert torch.equal(model(**other)["pooler_output"], model(**batch)["pooler_output"])
    embeddings = model.embed(batch["input_ids"]).detach().requires_grad_()
    model.encode(embeddings, mask)["pooler_output"].sum().backward()
    assert embeddings.grad is not None
    assert not embeddings.grad[~mask.bool()].any()
    assert embeddings.grad[mask.bool()].any(dim=-1).all()


def test_token_types_matter_and_default_to_nought(tiny: EncoderConfig) -> None:
    model, batch = BertModel(tiny).eval(), random_batch(tiny)
    types = batch.pop("token_type_ids")
    plain = model(**batch)["pooler_output"]
    zeros = model(**batch, token_type_ids=torch.zeros_like(types))["pooler_output"]
    torch.testing.assert_close(plain, zeros)
    typed = model(**batch, token_type_ids=types)["pooler_output"]
    assert (typed - plain).abs().amax(dim=-1).min() > 1e-4


def test_token_types_left_out_have_the_gradients_of_noughts(tiny: EncoderConfig) -> None:
    found = []
    for types in (None, torch.zeros_like(random_batch(tiny)["token_type_ids"])):
        torch.manual_seed(1)
        model = BertModel(tiny).double().eval()
        batch = {**random_batch(tiny), "token_type_ids": types}
        model(**batch)["last_hidden_state"].square().sum().backward()
        found.append([param.grad for param in model.parameters() if param.grad is not None])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_pooler_is_never_lowered(tiny: EncoderConfig) -> None:
    model = BertModel(tiny).eval()
    cls = torch.randn(3, tiny.hidden_size)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.pooler(cls).dtype == torch.bfloat16
        found = model.pooled(cls)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.tanh(model.pooler(cls)))


def test_word_order_matters(tiny: EncoderConfig) -> None:
    model = BertModel(tiny).double().eval()
    forth, back = model(**batch_of([[2, 5, 6, 7], [2, 7, 6, 5]]))["pooler_output"]
    assert (forth - back).abs().max() > 1e-6


@pytest.mark.parametrize("training", [True, False])
def test_forward_is_embed_then_encode(tiny: EncoderConfig, training: bool) -> None:
    model, batch = BertModel(tiny).train(training), random_batch(tiny)
    with seeded(3, torch.device("cpu")):
        whole = model(**batch)
    with seeded(3, torch.device("cpu")):
        parts = model.encode(
            model.embed(batch["input_ids"]), batch["attention_mask"], batch["token_type_ids"]
        )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_embed_is_the_word_table_alone(tiny: EncoderConfig) -> None:
    """Noise enters before position, type and LayerNorm, which `encode` applies once."""
    model, batch = BertModel(tiny), random_batch(tiny)
    expected = model.word_embeddings.weight[batch["input_ids"]]
    assert torch.equal(model.embed(batch["input_ids"]), expected)


def test_longest_input(tiny: EncoderConfig) -> None:
    longest = tiny.max_position_embeddings
    model = BertModel(tiny).eval()
    out = model(**batch_of([[1] * longest]))
    assert out["last_hidden_state"].shape == (1, longest, tiny.hidden_size)
    with pytest.raises(RuntimeError):
        model(**batch_of([[1] * (longest + 1)]))


def test_random_weights_are_as_published() -> None:
    config = EncoderConfig(hidden_size=128, num_attention_heads=2, num_hidden_layers=1)
    model = BertModel(dataclasses.replace(config, vocab_size=500, initializer_range=0.05))
    for name, param in model.named_parameters():
        if name.endswith("bias"):
            assert not param.any(), name
        elif "norm" in name:
            assert (param == 1).all(), name
        elif param.numel() > 5000:
            assert param.std().item() == pytest.approx(0.05, rel=0.05), name


def test_parameter_count_of_bert_base() -> None:
    with torch.device("meta"):
        model = BertModel(EncoderConfig())
    assert sum(math.prod(p.shape) for p in model.parameters()) == 109_482_240

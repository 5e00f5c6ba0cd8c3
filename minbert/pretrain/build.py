"""From a `PretrainConfig` to model, text and plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from minbert.data.tokenizer import SPECIAL_TOKENS, WordPieceTokenizer
from minbert.encoder import weights
from minbert.encoder.config import EncoderConfig
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.masking import Masker
from minbert.pretrain.model import PretrainingBert, fresh
from minbert.pretrain.objective import PretrainingObjective, TextBatch, score_held_out, text_batch
from minbert.pretrain.order import ShuffledShards
from minbert.pretrain.shards import HELD_OUT, TRAIN, PackedText, Recipe, cached
from minbert.pretrain.vocabulary import cached_vocabulary
from minbert.pretrain.word_vectors import cached_vectors, read_vectors
from minbert.support.device import pick_autocast
from minbert.support.errors import InputError
from minbert.training.loop import Plan, Words
from minbert.training.optimizer import AdamW, parameter_groups, rate_schedule
from minbert.training.session import Trainee

WORDS = Words("part", "held-out text", "minus the losses' sum")
_NO_LIMIT = 2**30  # sentences are cut when they are packed, not before

Pretrainee = Trainee[PretrainingBert, TextBatch]


@dataclass(frozen=True)
class Ingredients:
    """All that a run needs but the number of its steps."""

    config: PretrainConfig
    model: PretrainingBert
    masker: Masker
    text: Mapping[str, PackedText]


def gather(config: PretrainConfig, device: torch.device) -> Ingredients:
    """Read, and where it is not cached make, everything the run needs. Raises InputError."""
    source = _vocabulary_folder(config)
    model = _model(config, source, device)
    tokenizer = WordPieceTokenizer.from_folder(source, _NO_LIMIT, model.published.vocab_size)
    masker = Masker(tokenizer.vocab, config.mask_rate, whole_words=config.whole_words)
    packed = _packed(config, tokenizer)
    if config.weights is None and config.embeddings == "neighbours":
        _take_vectors(model, packed, tokenizer)
    text = {part: PackedText(packed, part) for part in (TRAIN, HELD_OUT)}
    return Ingredients(config, model, masker, text)


def trainee(parts: Ingredients, steps: int, model: PretrainingBert | None = None) -> Pretrainee:
    """A run of `steps` steps, over `model` in place of the run's own if given."""
    config, model = parts.config, model or parts.model
    factor = rate_schedule(config.schedule, steps, config.warmup, config.power)
    train, scored = parts.text[TRAIN], parts.text[HELD_OUT].sample(config.scored_rows)
    per_part = max(1, math.ceil(steps / config.scorings))
    plan: Plan[PretrainingBert, TextBatch] = Plan(
        schedule=ShuffledShards(train, config.batch_size, per_part, config.seed),
        draw=lambda _task, rows: text_batch(train, rows),
        rate=lambda step: config.lr * factor(step),
        evaluate=lambda trained: score_held_out(trained, scored, parts.masker, config.piece),
        total_steps=steps,
        seed=config.seed,
        clip=config.clip,
        checkpoint_every=config.checkpoint_every,
        words=WORDS,
    )
    groups = parameter_groups(model, config.weight_decay)
    optimizer = AdamW(
        groups,
        lr=config.lr,
        betas=config.betas,
        eps=config.adam_eps,
        fused=not config.readable,
    )
    return Trainee(model, PretrainingObjective(parts.masker, config.piece), optimizer, plan)


def text_files(config: PretrainConfig) -> list[Path]:
    """The files to read."""
    return [Path(name) for name in config.text]


def _vocabulary_folder(config: PretrainConfig) -> Path:
    if config.weights is not None:
        weights.check_folder(Path(config.weights))
        return Path(config.weights)
    if config.vocab is not None:
        return Path(config.vocab)
    files = text_files(config)
    return cached_vocabulary(Path(config.cache), files, config.vocab_size, config.held_out)


def _model(config: PretrainConfig, source: Path, device: torch.device) -> PretrainingBert:
    if config.weights is not None:
        shape = EncoderConfig.from_file(source / "config.json")
    else:
        shape = config.shape(len(WordPieceTokenizer.from_folder(source, _NO_LIMIT).vocab))
    _check_shape(config, shape)
    model = fresh(
        shape,
        config.seed,
        attention=config.attention,
        dropout=config.dropout,
        next_sentence=not config.no_nsp,
        autocast=pick_autocast(config.precision, device),
    )
    if config.weights is not None:
        model.load_published(source)
    if config.repeat_positions is not None:
        _repeat_positions(model, config.repeat_positions)
    if config.embedding_std is not None:
        model.scale_embeddings(config.embedding_std)
    model.encoder.vocab_files = weights.read_vocab_files(source)
    return model.to(device)


@torch.no_grad()
def _repeat_positions(model: PretrainingBert, trained: int) -> None:
    """Position embeddings from `trained` on repeat those before, [CLS]'s place apart."""
    positions = model.encoder.position_embeddings.weight  # (P, H)
    later = torch.arange(trained, len(positions))
    positions[later] = positions[1 + (later - 1) % (trained - 1)]


def _check_shape(config: PretrainConfig, shape: EncoderConfig) -> None:
    config.check_positions(shape)
    if shape.type_vocab_size < 2 and not config.no_nsp:
        raise InputError(f"{config.weights}: type_vocab_size 1 knows no pairs: take --no_nsp")


def _packed(config: PretrainConfig, tokenizer: WordPieceTokenizer) -> Path:
    recipe = Recipe(config.sequence_length, not config.no_nsp, config.held_out, config.seed)
    return cached(Path(config.cache), text_files(config), tokenizer, recipe)


@torch.no_grad()
def _take_vectors(model: PretrainingBert, packed: Path, tokenizer: WordPieceTokenizer) -> None:
    """Word embeddings from the text's word vectors; those of other tokens stay random."""
    words = model.encoder.word_embeddings.weight  # (V, H)
    special = np.array([tokenizer.vocab[token] for token in SPECIAL_TOKENS])
    found = cached_vectors(packed, words.size(0), special, words.size(1))
    vectors = torch.from_numpy(read_vectors(found)).to(words)
    known = vectors.abs().amax(dim=1) > 0
    words[known] = vectors[known]

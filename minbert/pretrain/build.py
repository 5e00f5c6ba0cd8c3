"""The parts of a pretraining run, from a `PretrainConfig`."""

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
from minbert.pretrain.word_vectors import cached_vectors
from minbert.support.device import pick_autocast
from minbert.support.errors import InputError
from minbert.training.optimizer import optimizer_for, rate_schedule
from minbert.training.plan import Plan, Trainee

_NO_LIMIT = 2**30  # sentences are cut when they are packed, not before

Pretrainee = Trainee[PretrainingBert, TextBatch]


@dataclass(frozen=True)
class Ingredients:
    """All that a run needs, except the number of its steps."""

    config: PretrainConfig
    model: PretrainingBert
    masker: Masker
    text: Mapping[str, PackedText]


def gather(config: PretrainConfig, device: torch.device) -> Ingredients:
    """Read everything that the run needs, or make it if it is not cached. Raises InputError."""
    source = _vocabulary_folder(config)
    model = _model(config, source, device)
    tokenizer = WordPieceTokenizer.from_folder(source, _NO_LIMIT, model.published.vocab_size)
    masker = Masker(tokenizer.vocab, config.mask_rate, whole_words=config.whole_words)
    recipe = Recipe(config.sequence_length, not config.no_nsp, config.held_out, config.seed)
    packed = cached(Path(config.cache), text_files(config), tokenizer, recipe)
    if config.weights is None and config.embeddings == "neighbours":
        _take_vectors(model, packed, tokenizer)
    text = {split: PackedText(packed, split) for split in (TRAIN, HELD_OUT)}
    return Ingredients(config, model, masker, text)


def trainee(
    ingredients: Ingredients, steps: int, model: PretrainingBert | None = None
) -> Pretrainee:
    """A run of `steps` steps, over `model` if given, else over the ingredients' own."""
    config, model, masker = ingredients.config, model or ingredients.model, ingredients.masker
    factor = rate_schedule(config.schedule, steps, config.warmup, config.power)
    train = ingredients.text[TRAIN]
    scored = ingredients.text[HELD_OUT].sample(config.scored_rows)
    steps_per_epoch = max(1, math.ceil(steps / config.scorings))
    plan: Plan[PretrainingBert, TextBatch] = Plan(
        order=ShuffledShards(train, config.batch_size, steps_per_epoch, config.seed),
        draw=lambda _task, rows: text_batch(train, rows),
        learning_rate=lambda step: config.lr * factor(step),
        evaluate=lambda trained: score_held_out(trained, scored, masker, config.piece),
        total_steps=steps,
        seed=config.seed,
        clip=config.clip,
        checkpoint_every=config.checkpoint_every,
        criterion="minus the losses' sum",
    )
    objective = PretrainingObjective(masker, config.piece)
    return Trainee(model, objective, optimizer_for(model, config), plan)


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
    config.check_positions(shape)
    if shape.type_vocab_size < 2 and not config.no_nsp:
        raise InputError(f"{config.weights}: type_vocab_size 1 knows no pairs: take --no_nsp")
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
    """Let positions from `trained` on repeat the embeddings before them, [CLS]'s left out."""
    positions = model.encoder.position_embeddings.weight  # (P, H)
    later = torch.arange(trained, len(positions))
    positions[later] = positions[1 + (later - 1) % (trained - 1)]


@torch.no_grad()
def _take_vectors(model: PretrainingBert, packed: Path, tokenizer: WordPieceTokenizer) -> None:
    """Begin word embeddings with the text's word vectors; tokens without one stay random."""
    words = model.encoder.word_embeddings.weight  # (V, H)
    special = np.array([tokenizer.vocab[token] for token in SPECIAL_TOKENS])
    found = cached_vectors(packed, words.size(0), special, words.size(1))
    vectors = torch.from_numpy(found).to(words)
    known = vectors.abs().amax(dim=1) > 0
    words[known] = vectors[known]

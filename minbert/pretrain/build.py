"""The parts of a pretraining run, from a `PretrainConfig`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder import weights
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.lessons import Lesson, SideBySide
from minbert.pretrain.masking import Masker
from minbert.pretrain.model import PretrainingBert, fresh
from minbert.pretrain.objective import (
    PieceObjective,
    PretrainingObjective,
    score_held_out,
    text_batch,
)
from minbert.pretrain.order import TASK, ShuffledShards
from minbert.pretrain.shards import HELD_OUT, TRAIN, PackedText, Recipe, cached
from minbert.pretrain.taught_lesson import taught
from minbert.pretrain.teacher import NO_LIMIT, Teacher, load_teacher, principal_components
from minbert.pretrain.vocabulary import cached_vocabulary
from minbert.pretrain.word_vectors import cached_vectors
from minbert.support.device import pick_autocast
from minbert.support.errors import InputError
from minbert.training.cuda_graphs import graphed
from minbert.training.optimizer import optimizer_for, rate_schedule
from minbert.training.plan import DivisibleBatch, Plan, Trainee
from minbert.training.shared import shared

Pretrainee = Trainee[PretrainingBert, DivisibleBatch]


@dataclass(frozen=True)
class Ingredients:
    """All that a run needs, except the number of its steps."""

    config: PretrainConfig
    model: PretrainingBert
    lessons: Sequence[Lesson]


def gather(config: PretrainConfig, device: torch.device) -> Ingredients:
    """Read everything that the run needs, or make it if it is not cached. Raises InputError."""
    teacher = None if config.teacher is None else load_teacher(config, device)
    source = _vocabulary_folder(config)
    model = _model(config, source, teacher, device)
    tokenizer = WordPieceTokenizer.from_folder(source, NO_LIMIT, model.published.vocab_size)
    counted = config.weights is None and config.embeddings == "neighbours"
    lessons = []
    if teacher is not None:
        if config.weights is None and config.embeddings == "teacher":
            size = model.encoder.word_embeddings.weight.shape
            _take_vectors(model, principal_components(teacher, tokenizer.vocab, *size))
        lessons.append(taught(config, model, teacher, tokenizer))
    if config.guesses or counted:
        recipe = Recipe(config.sequence_length, config.pairs, config.held_out, config.seed)
        packed = cached(Path(config.cache), config.text_files, tokenizer, recipe)
        if counted:
            _take_vectors(model, _neighbours(model, packed, tokenizer))
        if config.guesses:
            lessons.append(_guessing(config, packed, tokenizer, model.device))
    return Ingredients(config, model, lessons)


def _guessing(
    config: PretrainConfig, packed: Path, tokenizer: WordPieceTokenizer, device: torch.device
) -> Lesson:
    """Masked words, and next sentences unless left out, of packed text."""
    vocab = {**tokenizer.vocab, **tokenizer.special}
    masker = Masker(vocab, config.mask_rate, whole_words=config.whole_words)
    train, held_out = (PackedText(packed, split) for split in (TRAIN, HELD_OUT))
    scored, piece = held_out.sample(config.scored_rows), config.micro_batch_size
    size = config.text_rows
    by_graphs = graphed(PieceObjective(), device, readable=config.readable)
    return Lesson(
        name=TASK,
        text=train,
        title="packed text",
        held_out=len(held_out),
        rows=f"rows of {config.sequence_length} tokens",
        batch_size=size,
        order=lambda steps: ShuffledShards(train, size, steps, config.seed),
        draw=lambda rows: text_batch(train, rows),
        objective=PretrainingObjective(masker, piece, by_graphs),
        evaluate=lambda model: score_held_out(model, scored, masker, piece),
    )


def trainee(
    ingredients: Ingredients, steps: int, model: PretrainingBert | None = None
) -> Pretrainee:
    """A run of `steps` steps, over `model` if given, else over the ingredients' own."""
    config, model = ingredients.config, model or ingredients.model
    factor = rate_schedule(config.schedule, steps, config.warmup, config.power)
    lessons = SideBySide(ingredients.lessons, max(1, math.ceil(steps / config.scorings)))
    plan: Plan[PretrainingBert, DivisibleBatch] = Plan(
        order=lessons,
        draw=lessons.draw,
        learning_rate=lambda step: config.lr * factor(step),
        evaluate=lessons.evaluate,
        total_steps=steps,
        seed=config.seed,
        clip=config.clip,
        checkpoint_every=config.checkpoint_every,
        criterion="minus the losses' sum",
    )
    return Trainee(model, shared(lessons), optimizer_for(model, config), plan)


def _vocabulary_folder(config: PretrainConfig) -> Path:
    if config.weights is not None:
        weights.check_folder(Path(config.weights))
        return Path(config.weights)
    if config.vocab is not None:
        return Path(config.vocab)
    files = config.text_files
    return cached_vocabulary(Path(config.cache), files, config.vocab_size, config.held_out)


def _model(
    config: PretrainConfig, source: Path, teacher: Teacher | None, device: torch.device
) -> PretrainingBert:
    if config.weights is not None:
        shape = EncoderConfig.from_file(source / "config.json")
        if shape.model_type != "bert":
            what = f"model_type {shape.model_type!r}: pretraining goes on with BERT's heads alone"
            raise InputError(f"{source}: {what}")
        BertModel.check_folder(source, shape)  # before memory is taken for what it says
    else:
        shape = config.shape(WordPieceTokenizer.from_folder(source, NO_LIMIT).size)
    if config.finetune_dropout is not None:
        shape = shape.with_dropout(config.finetune_dropout)
    config.check_positions(shape)
    if shape.type_vocab_size < 2 and (config.pairs or config.pair_share > 0):
        take = "--no_nsp" if config.pairs else "--pair_share 0"
        raise InputError(f"{config.weights}: type_vocab_size 1 knows no pairs: take {take}")
    model = fresh(
        shape,
        config.seed,
        attention=config.attention,
        dropout=config.dropout,
        next_sentence=not config.no_nsp,
        autocast=pick_autocast(config.precision, device),
        teacher_size=None if teacher is None else teacher.encoder.config.hidden_size,
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


def _neighbours(
    model: PretrainingBert, packed: Path, tokenizer: WordPieceTokenizer
) -> NDArray[np.float32]:
    special = np.array(list(tokenizer.special.values()))
    count, size = model.encoder.word_embeddings.weight.shape
    return cached_vectors(packed, count, special, size)


@torch.no_grad()
def _take_vectors(model: PretrainingBert, found: NDArray[np.float32]) -> None:
    """Begin word embeddings with the vectors found (V, H); tokens without one stay random."""
    words = model.encoder.word_embeddings.weight
    vectors = torch.from_numpy(found).to(words)
    known = vectors.abs().amax(dim=1) > 0
    words[known] = vectors[known]

"""The lesson of learning from a teacher, from a `PretrainConfig`."""

from collections.abc import Sequence
from pathlib import Path

from minbert.data.tokenizer import WordPieceTokenizer
from minbert.pretrain.alignment import RowReader
from minbert.pretrain.config import PretrainConfig
from minbert.pretrain.lessons import Lesson
from minbert.pretrain.model import PretrainingBert
from minbert.pretrain.order import LikeLengths
from minbert.pretrain.pairs import Reads, agreement, read_rows
from minbert.pretrain.scored_pairs import read_pairs
from minbert.pretrain.sentences import Row, RowRecipe, SentenceRows, cached_sentences
from minbert.pretrain.shards import HELD_OUT, TRAIN
from minbert.pretrain.teacher import NO_LIMIT, Teacher
from minbert.pretrain.teaching import (
    TAUGHT,
    TaughtBatch,
    TeachingObjective,
    Weights,
    score_taught,
)
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed

_FITTED_ROWS = 128  # with thousands of words, enough for a map between some hundred dimensions
_LEAST_AGREEMENT = 0.5  # of the words: a teacher that reads fewer of them teaches little


def taught(
    config: PretrainConfig,
    model: PretrainingBert,
    teacher: Teacher,
    tokenizer: WordPieceTokenizer,
) -> Lesson:
    """The teacher's vectors of words and sentences. Raises InputError where it reads no words."""
    reader = RowReader(tokenizer, config.sequence_length)
    pairs = None if config.scored_pairs is None else read_pairs(Path(config.scored_pairs), reader)
    recipe = RowRecipe(config.pair_share, config.held_out, config.seed)
    folder = cached_sentences(Path(config.cache), config.text_files, tokenizer, recipe)
    train, held_out = (SentenceRows(folder, split) for split in (TRAIN, HELD_OUT))
    size, piece = config.batch_size - config.text_rows, config.micro_batch_size

    def read(rows: Sequence[Row], *place: int) -> Reads:
        return read_rows(rows, reader, teacher.reader, derive_seed(config.seed, "pairs", *place))

    sample = held_out.sample(config.scored_rows)
    _check_agreement(config, tokenizer, teacher.tokenizer, sample)
    _warn_of_cuts(train, config.sequence_length)
    scored = read(sample)
    terms = Weights(config.word_weight, config.sentence_weight, config.score_weight)
    objective = TeachingObjective(teacher, reader, terms, piece)
    try:
        objective.fit(model, read(train.sample(_FITTED_ROWS)))
    except InputError as error:
        raise InputError(f"--teacher {config.teacher}: {error}") from error
    return Lesson(
        name=TAUGHT,
        text=train,
        title="sentences",
        held_out=len(held_out),
        rows=f"sentences of at most {config.sequence_length} tokens",
        batch_size=size,
        order=lambda steps: LikeLengths(train, train.lengths, size, steps, config.seed, TAUGHT),
        draw=lambda rows: TaughtBatch(
            tuple(f"sentence {row}" for row in rows), read(train.take(rows), *rows[:2]), piece
        ),
        objective=objective,
        evaluate=lambda model: score_taught(model, objective, scored, pairs, piece),
    )


def _check_agreement(
    config: PretrainConfig,
    ours: WordPieceTokenizer,
    theirs: WordPieceTokenizer,
    rows: Sequence[Row],
) -> None:
    """Raise InputError where student and teacher take different things for words."""
    readers = (RowReader(tokenizer, NO_LIMIT) for tokenizer in (ours, theirs))
    share = agreement([text for row in rows for text in row], *readers)
    if share < _LEAST_AGREEMENT:
        raise InputError(
            f"--teacher {config.teacher}: of the words of --text that it or the encoder that "
            f"learns can read, only {share:.0%} are words to both: take two that know the text's "
            "script, and split it into words alike"
        )


def _warn_of_cuts(train: SentenceRows, length: int) -> None:
    """Say how many rows have more tokens than are read."""
    if cut := int((train.lengths > length - 2).sum()):
        log.warning(
            "--text: %d of %d rows have more than the %d tokens of --sequence_length; what lies "
            "beyond is not read",
            cut,
            len(train),
            length,
        )

"""`PretrainConfig`: everything that decides a pretraining run, and which settings contradict."""

from dataclasses import dataclass
from pathlib import Path

from minbert.encoder.config import EncoderConfig
from minbert.pretrain.flags import PretrainFlags
from minbert.support.errors import InputError
from minbert.support.flags import check_values

_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class PretrainConfig(PretrainFlags):
    """Everything that decides a pretraining run."""

    def __post_init__(self) -> None:
        check_values(self)
        if not self.text:
            raise InputError("--text: names no file; one sentence a line, blank line a document")
        if self.pairs and (alone := [name for name in self.text if name.endswith(".csv")]):
            raise InputError(f"--text {alone[0]}: its texts have no next sentence: take --no_nsp")
        if self.weights is not None and self.vocab is not None:
            raise InputError("--vocab does nothing beside --weights, which has its own")
        if self.embeddings == "teacher" and self.teacher is None:
            raise InputError("--embeddings teacher: there is none; name one with --teacher")
        if self.teacher is not None:
            self._check_shares()
        if self.ranks > self.batch_size:
            raise InputError(f"--ranks {self.ranks} --batch_size {self.batch_size}: too few rows")
        given = [n for n in ("steps", "passes", "time_budget") if getattr(self, n) is not None]
        if len(given) > 1:
            raise InputError(f"--{given[0]} and --{given[1]}: give one of them")
        if self.time_budget is not None:
            self.budget_seconds()
        if self.weights is None:
            self.check_positions(self.shape(self.vocab_size))

    @property
    def text_files(self) -> list[Path]:
        """The files to read."""
        return [Path(name) for name in self.text]

    @property
    def guesses(self) -> bool:
        """Whether masked words are trained."""
        return self.teacher is None or self.text_share > 0

    @property
    def pairs(self) -> bool:
        """Whether next sentences are trained."""
        return self.guesses and not self.no_nsp

    @property
    def text_rows(self) -> int:
        """Rows of a step on which masked words are trained."""
        share = 1.0 if self.teacher is None else self.text_share
        return round(share * self.batch_size)

    def _check_shares(self) -> None:
        """Raise InputError where a loss that is asked for would have no rows or no weight."""
        if self.guesses and not 0 < self.text_rows < self.batch_size:
            raise InputError(
                f"--text_share {self.text_share:g}: makes {self.text_rows} of {self.batch_size} "
                "rows a step; there must be some of both kinds"
            )
        scores = self.score_weight if self.pair_share > 0 else 0
        if self.word_weight == self.sentence_weight == scores == 0:
            raise InputError(
                "--word_weight 0 and --sentence_weight 0: nothing to learn, unless --pair_share is "
                "above 0 and --score_weight too"
            )

    def check_positions(self, shape: EncoderConfig) -> None:
        """Raise InputError where an encoder of this shape has too few positions."""
        positions = shape.max_position_embeddings
        if self.sequence_length > positions:
            raise InputError(
                f"--sequence_length {self.sequence_length}: the encoder has {positions} positions"
            )
        if self.repeat_positions is not None and self.repeat_positions >= positions:
            raise InputError(
                f"--repeat_positions {self.repeat_positions}: the encoder has {positions} positions"
            )

    def budget_seconds(self) -> float:
        """The time budget in seconds. Raises InputError if it is not a time."""
        text = str(self.time_budget)
        try:
            seconds = float(text[:-1]) * _UNITS[text[-1]]
        except (ValueError, KeyError, IndexError):
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise InputError(f"--time_budget {text}: give a time like 90s, 20m or 1.5h")
        return seconds

    def shape(self, vocab_size: int) -> EncoderConfig:
        """The shape of a new encoder. Raises InputError for an impossible one."""
        try:
            return EncoderConfig(
                vocab_size=vocab_size,
                hidden_size=self.hidden_size,
                num_hidden_layers=self.layers,
                num_attention_heads=self.attention_heads,
                intermediate_size=4 * self.hidden_size,
                max_position_embeddings=self.positions,
            )
        except InputError as error:
            raise InputError(f"the encoder asked for: {error}") from error

"""The data of a run, from files to token ids."""

from pathlib import Path

from minbert.data import overlap
from minbert.data.batches import Dataset, encode_split
from minbert.data.examples import BadRow, Split
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.config import EncoderConfig
from minbert.finetune.config import Key, ResolvedConfig
from minbert.finetune.rows import file_split, read_rows
from minbert.support.console import log
from minbert.support.errors import InputError

_SHORTEST = 5  # [CLS] a [SEP] b [SEP]


def build_data(
    config: ResolvedConfig, encoder: EncoderConfig
) -> tuple[dict[Key, Dataset], list[BadRow]]:
    """Every file the run needs: train files of what trains, dev and test of what is evaluated.

    A file's text is dropped when it is encoded, before the next file is read. The second result
    lists the rows reported in all of them.
    """
    tokenizer = build_tokenizer(config, encoder)
    datasets: dict[Key, Dataset] = {}
    bad_rows: list[BadRow] = []
    scored: overlap.Scored = {}
    for key in config.read_keys:
        split = read_file(config, *key)
        bad_rows += split.bad_rows
        _note_shared(config, split, scored)
        datasets[key] = encoded(config, split, tokenizer)
    return datasets, bad_rows


def _note_shared(config: ResolvedConfig, split: Split, scored: overlap.Scored) -> None:
    """Compare tasks that are not all the course's, of which some have the same source.

    What is scored is read before what trains.
    """
    if not config.own_tasks or len(config.evaluated_tasks) < 2:
        return
    if split.name == "train":
        overlap.warn_of_shared(split, scored)
    elif split.name == "dev":
        scored[split.path] = (split.task.name, overlap.fingerprints(split.examples))


def read_file(config: ResolvedConfig, name: str, split: str) -> Split:
    """A task's rows as this run takes them. Raises InputError."""
    path = Path(config.file(name, file_split(vars(config), split)))
    return read_rows(vars(config), config.task(name), split, path, strict=config.strict)


def build_tokenizer(config: ResolvedConfig, encoder: EncoderConfig) -> WordPieceTokenizer:
    """The encoder's. Raises InputError where the encoder cannot take what it would give."""
    positions = encoder.longest
    longest = config.max_length or positions
    if positions < _SHORTEST:
        raise InputError(f"{config.weights}: {positions} positions are too few for a pair of texts")
    if longest > positions:
        raise InputError(f"--max_length {longest}: the encoder has {positions} positions")
    folder = Path(str(config.weights))
    tokenizer = WordPieceTokenizer.from_folder(folder, longest, encoder.vocab_size)
    if config.cross_encoder and tokenizer.frame.second_type >= encoder.type_vocab_size:
        raise InputError(f"{config.weights}: type_vocab_size 1 knows no pairs: no --cross_encoder")
    return tokenizer


def encoded(config: ResolvedConfig, split: Split, tokenizer: WordPieceTokenizer) -> Dataset:
    """A split as tokens. The log says how many inputs were cut."""
    dataset = encode_split(split, tokenizer, cross_encoder=config.cross_encoder)
    if cut := dataset.texts.truncated:
        total, longest = len(dataset.texts.lengths), tokenizer.max_length
        log.warning("%s: %d of %d inputs cut to %d tokens", split.path, cut, total, longest)
    return dataset

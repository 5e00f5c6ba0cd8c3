"""What several test files share: a tiny vocabulary, random encoders, models, data sets, files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from minbert.data.batches import Dataset, encode_split
from minbert.data.examples import Example, Split
from minbert.data.subwords import SPECIAL_TOKENS, wordpiece
from minbert.data.tokenizer import WordPieceTokenizer
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.finetune.build import build_head
from minbert.finetune.config import ResolvedConfig, RunConfig
from minbert.finetune.inputs import locate
from minbert.finetune.job import run
from minbert.model import MultitaskBert
from minbert.support.signals import StopRequest
from minbert.tasks.heads import RelationalLayer
from minbert.tasks.mixing import ALONE, MIXINGS, MixingSettings
from minbert.tasks.registry import COURSE_TASKS, TASKS
from minbert.training.sampling import MixedTaskOrder

MakeRun = Callable[..., Path]

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
TINY = EncoderConfig(
    vocab_size=60,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=32,
    max_position_embeddings=32,
)
WORDS = (
    "a the film plot cast is was not very good bad dull fine great poor how do i learn to cook "
    "ride dance a man woman dog plays sings runs guitar song in on park street quickly slowly "
    "red green blue big small old new ##s ##ing ##ly"
)
VOCAB = {t: i for i, t in enumerate(dict.fromkeys([*SPECIAL_TOKENS, *WORDS.split()]))}
_PLAIN = [word for word in VOCAB if word not in SPECIAL_TOKENS and not word.startswith("##")]
_STEMS = {"sst": "ids-sst", "para": "quora", "sts": "sts", "cfimdb": "ids-cfimdb"}
_TOP_LABEL = {"sst": 4, "para": 1, "sts": 5, "cfimdb": 1}


def rest_slow(first: int, cases: Iterable[Any]) -> list[Any]:
    """Cases for `parametrize`: those after the `first` ones run only among the slow tests."""
    cases = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*case, marks=[pytest.mark.slow] if number >= first else [])
        for number, case in enumerate(cases)
    ]


def no_report(*_outcome: Any) -> None:
    """Stand in for the page that a run leaves, which takes a second."""


def make_tokenizer(max_length: int = 32) -> WordPieceTokenizer:
    """A tokenizer over `VOCAB`, which fits an encoder with `vocab_size` 60."""
    return WordPieceTokenizer(wordpiece(VOCAB), max_length)


def make_encoder(config: EncoderConfig, attention: str = "fused", **changes: Any) -> BertModel:
    """A random encoder. `changes` replace fields of `config`."""
    return BertModel(dataclasses.replace(config, **changes), attention)


def save_encoder(folder: Path, config: EncoderConfig, **changes: Any) -> Path:
    """A folder in the published layout with random weights and `VOCAB`."""
    encoder = make_encoder(config, **changes)
    encoder.vocab_files = {"vocab.txt": "".join(f"{token}\n" for token in VOCAB).encode()}
    encoder.save_pretrained(folder)
    return folder


def cache_encoder(cache: Path, name: str, commit: str, config: EncoderConfig) -> Path:
    """The same as a checkpoint of that name in the hub's cache, on its branch `main`."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    return save_encoder(repository / "snapshots" / commit, config)


def make_model(
    encoder: BertModel,
    tasks: Iterable[str] = ("sst", "para", "sts"),
    *,
    views: int = 2,
    rlayer: bool = False,
    **settings: Any,
) -> MultitaskBert:
    """A model with random heads. `views` is 1 for a cross-encoder."""
    size = encoder.config.hidden_size
    return MultitaskBert(
        encoder,
        {name: build_head(TASKS[name], size, views, rlayer=rlayer) for name in tasks},
        relational=RelationalLayer(size, views) if rlayer else None,
        relational_tasks=frozenset({"para", "sts"}),
        **settings,
    )


def make_dataset(
    task: str,
    texts: Sequence[tuple[str, ...]],
    labels: Sequence[float | None],
    *,
    cross_encoder: bool = False,
    max_length: int = 32,
) -> Dataset:
    """An encoded data set whose ids are 0, 1, 2, ..."""
    rows = zip(texts, labels, strict=True)
    examples = [Example(str(i), text, label) for i, (text, label) in enumerate(rows)]
    split = Split(TASKS[task], "train", Path("nowhere.csv"), examples, [], len(examples))
    return encode_split(split, make_tokenizer(max_length), cross_encoder=cross_encoder)


def random_texts(
    task: str, count: int, seed: int = 0, most_words: int = 12
) -> list[tuple[str, ...]]:
    """Sentences, or pairs of them, of 1 to `most_words` words."""
    draw = Random(seed)
    views = len(TASKS[task].text_columns)
    return [
        tuple(" ".join(draw.choices(_PLAIN, k=draw.randint(1, most_words))) for _ in range(views))
        for _ in range(count)
    ]


def random_dataset(
    task: str, count: int, seed: int = 0, *, most_words: int = 12, cross_encoder: bool = False
) -> Dataset:
    """Random texts whose label is a function of the first one's length, so it can be learned."""
    texts = random_texts(task, count, seed, most_words)
    labels = [float(len(text[0].split()) % (_TOP_LABEL[task] + 1)) for text in texts]
    return make_dataset(task, texts, labels, cross_encoder=cross_encoder)


def whole_batch(dataset: Dataset) -> Any:
    """All examples as one batch, in order."""
    return dataset.batch(torch.arange(len(dataset)).numpy(), CPU)


def write_course_files(
    folder: Path, rows: int = 16, seed: int = 0, tasks: Iterable[str] = ("sst", "para", "sts")
) -> Path:
    """The course's files under their default names, with random texts of `VOCAB`."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        columns, label = TASKS[task].text_columns, TASKS[task].label_column
        for number, split in enumerate(("train", "dev", "test-student")):
            labelled = split != "test-student"
            lines = ["\t".join(["", "id", *columns, *([label] if labelled else [])])]
            for i, text in enumerate(random_texts(task, rows, seed + number)):
                value = [str(float(i % (_TOP_LABEL[task] + 1)))] if labelled else []
                lines.append("\t".join([str(i), f"{task}{split[:1]}{i:03d}", *text, *value]))
            path = folder / f"{_STEMS[task]}-{split}.csv"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_order(
    kind: str | None,
    lengths: Mapping[str, NDArray[np.int64]],
    batch_size: int,
    seed: int,
    *,
    summed: bool = False,
    fixed: bool = False,
    **settings: Any,
) -> MixedTaskOrder:
    """The task order of a mixing by its name, or of a single task."""
    sizes = {name: len(rows) for name, rows in lengths.items()}
    mixing = ALONE if kind is None else MIXINGS[kind]
    given = MixingSettings(sizes, batch_size, **settings)
    return MixedTaskOrder(mixing, given, lengths, seed, summed=summed, fixed=fixed)


def same_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts agree bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


def located_config(folder: Path, tiny: EncoderConfig) -> ResolvedConfig:
    """A configuration whose files and encoder lie in `folder`."""
    data = write_course_files(folder / "data")
    files = {
        f"{task}_{split}": str(data / TASKS[task].files[split])
        for task in COURSE_TASKS
        for split in ("train", "dev", "test")
    }
    weights = str(save_encoder(folder / "weights", tiny))
    return RunConfig(rrobin="equal", weights=weights, **files).resolved()


def finished_run(folder: Path, tiny: EncoderConfig = TINY, **settings: Any) -> Path:
    """A run of the main job in `folder`, over random files and a random encoder; its own folder.

    `settings` are flags. The encoder lies in `encoder`, the files in `data`.
    """
    write_course_files(folder / "data", tasks=(*COURSE_TASKS, "cfimdb"))
    if not (folder / "encoder").exists():
        save_encoder(folder / "encoder", tiny)
    rest = {"option": "finetune", "epochs": 1, "lr": 1e-2, "device": "cpu"}
    places = {"data_dir": "data", "weights": "encoder", "predictions_dir": "predictions"}
    places = {name: str(folder / place) for name, place in places.items()}
    every = {**rest, **places, "output_dir": str(folder / "run"), **settings}
    given = {name: value for name, value in every.items() if value is not None}
    if len(given.get("tasks", COURSE_TASKS)) > 1:
        given["rrobin"] = "equal"
    return run(locate(RunConfig(**given), given), StopRequest()).folder

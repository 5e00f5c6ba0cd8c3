"""The bench: `python -m minbert.experiments bench`, this package beside the reference library."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import torch

from minbert.data.examples import Split, read_split
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.locate import encoder_folder
from minbert.encoder.weights import read_vocab_files
from minbert.experiments.bench import report
from minbert.experiments.bench.config import RANDOM_BASE, BenchConfig
from minbert.experiments.bench.contender import Contender, Material, TokenCount
from minbert.experiments.bench.ours import Ours
from minbert.experiments.bench.peers import Peer
from minbert.experiments.bench.report import Found, BenchRow
from minbert.experiments.bench.shares import shares
from minbert.experiments.measuring.command import measuring_command, measuring_parser, where
from minbert.experiments.measuring.outputs import as_csv, check_outputs
from minbert.experiments.measuring.rates import Rate, Share, measured_rate, reached
from minbert.experiments.measuring.trial import interleaved, wait_for
from minbert.finetune.build import build_model
from minbert.finetune.config import RunConfig
from minbert.support import durable_files
from minbert.support.console import ProgressBar, log
from minbert.support.device import pick_autocast, pick_device
from minbert.support.errors import InputError, RunError
from minbert.support.flags import OneLineParser
from minbert.support.randomness import derive_seed, seeded
from minbert.tasks.course import TASKS
from minbert.training.record import machine

_AGREE = 1e-5  # how far losses may lie apart, in fp32
_SUFFIXES = {"json": (".json",), "csv": (".csv",), "markdown": (".md",)}
_DESCRIPTION = """\
Time the same work in this package and in others, in rounds that take turns: training steps, epochs,
inference, an optimizer's update. All load the same weights and must agree on the loss of a common
batch before anything is timed. Nothing is trained for use. Give it a machine that does nothing
else. Typical:

  python -m minbert.experiments bench
  python -m minbert.experiments bench --weights data/minbert-mini bert-base-random \\
      --batch_sizes 8 16 32 64 --works step inference --markdown bench.md
"""


def run(config: BenchConfig, job: RunConfig) -> Found:
    """Measure, print the tables, and write the files that are asked for.

    `job` is the main job on the same rows. Raises InputError; RunError where losses disagree.
    """
    check_outputs(config, _SUFFIXES, report.ABOUT, report.FIELDS)
    device = pick_device(job.device)
    config = _able(config, device)
    lowered = pick_autocast(job.precision, device)
    job = dataclasses.replace(job, precision="fp32" if lowered is None else "bf16")
    split = _rows(config, job)
    names = config.weights or (str(job.weights),)
    rows: list[BenchRow] = []
    reach: list[Share] = []
    parts = {}
    rate = measured_rate(device, lowered)
    for name in names:
        with _material(config, job, split, name, device) as material:
            rows += _timed(config, material, name)
            if "step" in config.works:
                reach += _reached(config, material, name, rate)
                parts[_short(name)] = _parts(config, material)
    found = Found(_setting(config, job, device), rate, rows, reach, parts)
    print(report.markdown(found), end="")
    _write(config, found, device)
    return found


def _able(config: BenchConfig, device: torch.device) -> BenchConfig:
    """Without the work that only a CPU does, elsewhere. Raises InputError where none is left."""
    if device.type == "cpu":
        return config
    works = tuple(work for work in config.works if work != "int8")
    if not works:
        raise InputError(f"--works int8 is for a CPU, and this is on {device.type}")
    return dataclasses.replace(config, works=works)


def _rows(config: BenchConfig, job: RunConfig) -> Split:
    """As many rows of the train file as the largest work takes, or all there are."""
    most = max(config.rows, config.steps * max(config.sizes))
    return read_split(TASKS[config.task], "train", Path(job.file(config.task, "train")), limit=most)


@contextlib.contextmanager
def _material(
    config: BenchConfig, job: RunConfig, split: Split, name: str, device: torch.device
) -> Iterator[Material]:
    """An encoder by its name, with random heads; a random one lies in a folder for the while."""
    with tempfile.TemporaryDirectory() as place:
        folder = _random_base(Path(place)) if name == RANDOM_BASE else encoder_folder(name)
        job = dataclasses.replace(job, weights=str(folder))
        encoder = BertModel.from_pretrained(folder, job.attention)
        model = build_model(job, copy.deepcopy(encoder), device).to(device)
        yield Material(folder, encoder, model, job, split, config.steps, config.rows, device)


def _random_base(folder: Path) -> Path:
    """bert-base's shape with random weights and the vocabulary of the encoder on disk."""
    with seeded(0, torch.device("cpu")):
        encoder = BertModel(EncoderConfig())
    encoder.vocab_files = read_vocab_files(encoder_folder(None))
    encoder.save_pretrained(folder)
    return folder


def _contenders(config: BenchConfig, material: Material) -> list[Contender]:
    """Ours first. A peer that is not installed is left out, and the log says so."""
    found: list[Contender] = [Ours(material)]
    for package in config.peers:
        if missing := [name for name in ("transformers", package) if find_spec(name) is None]:
            log.info("%s is left out: %s is not installed", package, missing[0])
        elif package == "transformers":
            found += [Peer(material, tuned=tuned) for tuned in (False, True)]
        else:
            found.append(Peer(material, tuned=False, terms=package))
    return found


def _check_agreement(contenders: Sequence[Contender], size: int) -> None:
    """Raise RunError unless all find the same loss for the first `size` rows."""
    ours, *others = contenders
    expected = ours.loss(size)
    for other in others:
        loss = other.loss(size)
        if not abs(loss - expected) <= _AGREE:
            raise RunError(
                f"{other.name}: loss {loss:.7f} on the common batch, {ours.name}'s is "
                f"{expected:.7f}: not the same model, so nothing is timed"
            )
    log.info("loss of the common batch, the same for all: %.6f", expected)


def _timed(config: BenchConfig, material: Material, encoder: str) -> list[BenchRow]:
    contenders = _contenders(config, material)
    size = min(config.sizes[0], len(material.split.examples))
    _check_agreement(contenders, size)
    rows = []
    for work in config.works:
        sizes = config.sizes[:1] if work == "adamw" else config.sizes
        for size in sizes:
            rows += _work(config, material, contenders, (encoder, work, size))
    return rows


def _work(
    config: BenchConfig,
    material: Material,
    contenders: Sequence[Contender],
    what: tuple[str, str, int],
) -> list[BenchRow]:
    """A work, by all who do it, in interleaved rounds."""
    encoder, work, size = what
    steps = material.steps_of(work, size)
    tokens: dict[str, TokenCount] = {}
    able = [one for one in contenders if work in one.works]
    title = f"{_short(encoder)}, {work}, batch {size}"
    with ProgressBar((config.rounds + 1) * len(able), title, "turns") as bar:

        def seconds(
            one: Contender, do: Callable[[int], TokenCount], numbers: Iterator[int]
        ) -> float:
            with seeded(derive_seed(0, one.name), material.device):
                wait_for(material.device)
                began = time.perf_counter()
                tokens[one.name] = do(next(numbers))
                wait_for(material.device)
                taken = time.perf_counter() - began
            bar.update(1)
            return taken / steps

        turns = {one.name: partial(seconds, one, one.prepared(work, size), count()) for one in able}
        for turn in turns.values():  # so that gradients and moments have their place
            turn()
        found = interleaved(turns, config.rounds)
    return report.make_rows(_short(encoder), work, size, found, tokens)


def _reached(config: BenchConfig, material: Material, encoder: str, rate: Rate) -> list[Share]:
    ours = Ours(material)
    trial = ours.trial("plain")
    return [
        reached(_short(encoder), trial, list(ours.drawn("step", size, 0)), rate, config.rounds)
        for size in config.sizes
    ]


def _parts(config: BenchConfig, material: Material) -> dict[str, float]:
    ours, size = Ours(material), config.sizes[0]
    numbers = count()
    return shares(ours.trial("plain"), lambda: ours.drawn("step", size, next(numbers)))


def _short(encoder: str) -> str:
    """An encoder's name: that of its folder, or of the one above where that says more."""
    path = Path(encoder)
    return path.parent.name if path.name == "model" else path.name


def _setting(config: BenchConfig, job: RunConfig, device: torch.device) -> str:
    return (
        f"{config.task}; {where(device, job.precision)}; {config.rounds} rounds, "
        f"stretches of {config.steps} steps, epochs and inference of {config.rows} rows."
    )


def _write(config: BenchConfig, found: Found, device: torch.device) -> None:
    if config.json is not None:
        facts = {**report.as_json(found), "machine": machine(device)}
        durable_files.write_json(Path(config.json), facts)
    if config.csv is not None:
        durable_files.write_text(Path(config.csv), as_csv(found.rows, report.FIELDS))
    if config.markdown is not None:
        durable_files.write_text(Path(config.markdown), report.markdown(found))


def make_parser() -> OneLineParser:
    """Its command line."""
    return measuring_parser("bench", _DESCRIPTION, BenchConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; returns the exit code."""
    return measuring_command(make_parser(), BenchConfig, run, argv)

"""The bench: `python -m minbert.experiments bench`, this package beside the reference library."""

import contextlib
import copy
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import torch

from minbert.data.examples import Split
from minbert.data.reading import read_split
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.locate import encoder_folder
from minbert.encoder.weights import read_vocab_files
from minbert.experiments.bench import report
from minbert.experiments.bench.config import RANDOM_BASE, BenchConfig
from minbert.experiments.bench.contender import Contender, Material, TokenCount
from minbert.experiments.bench.ours import Ours
from minbert.experiments.bench.peers import Peer
from minbert.experiments.bench.report import BenchReport, BenchRow
from minbert.experiments.bench.shares import shares
from minbert.experiments.measuring.command import MeasuringCommand, on_device, where
from minbert.experiments.measuring.outputs import check_outputs, write_outputs
from minbert.experiments.measuring.rates import Rate, Share, measured_rate, reached
from minbert.experiments.measuring.trial import interleaved, seconds_of
from minbert.finetune.build import build_model
from minbert.finetune.config import RunConfig
from minbert.support import durable_files
from minbert.support.command import show
from minbert.support.console import ProgressBar, log
from minbert.support.device import pick_autocast
from minbert.support.errors import InputError, RunError
from minbert.support.randomness import derive_seed, seeded
from minbert.tasks.registry import TASKS
from minbert.training.record import machine

_AGREE = 1e-5  # how far losses may lie apart, in fp32
_DESCRIPTION = """\
Time the same work in this package and in others, in rounds that take turns: training steps, epochs,
inference, an optimizer's update. All load the same weights and must agree on the loss of a common
batch before anything is timed. Nothing is trained for use. Give it a machine that does nothing
else. Typical:

  python -m minbert.experiments bench
  python -m minbert.experiments bench --weights data/minbert-mini bert-base-random \\
      --batch_sizes 8 16 32 64 --works step inference --markdown bench.md
"""


def run(config: BenchConfig, job: RunConfig) -> BenchReport:
    """Measure, print and write. Raises InputError; RunError where losses disagree."""
    check_outputs(config, report.ABOUT, BenchRow)
    job, device = on_device(job)
    config = _without_idle_work(config, device)
    # the first rows, as many as the largest work takes, or all there are
    most = max(config.rows, config.steps * max(config.sizes))
    path = Path(job.file(config.task, "train"))
    split = read_split(TASKS[config.task], "train", path, limit=most)
    rows: list[BenchRow] = []
    reach: list[Share] = []
    parts = {}
    rate = measured_rate(device, pick_autocast(job.precision, device))
    for name in config.weights or (str(job.weights),):
        with _material(config, job, split, name, device) as material:
            encoder = _short(name)
            rows += _timed(config, material, encoder)
            if "step" in config.works:
                ours = Ours(material)
                reach += _reached(config, ours, encoder, rate)
                drawn = partial(ours.drawn, "step", config.sizes[0])
                parts[encoder] = shares(ours.trial("plain"), map(drawn, count()).__next__)
    setting = (
        f"{config.task}; {where(device, job.precision)}; {config.rounds} rounds, "
        f"stretches of {config.steps} steps, epochs and inference of {config.rows} rows."
    )
    found = BenchReport(setting, rate, rows, reach, parts)
    show(report.for_stdout(found), end="")
    write_outputs(
        config,
        rows,
        BenchRow,
        {"about": report.ABOUT, **dataclasses.asdict(found), "machine": machine(device)},
        markdown=lambda path: durable_files.write_text(path, report.markdown(found)),
    )
    return found


def _without_idle_work(config: BenchConfig, device: torch.device) -> BenchConfig:
    """Leave out the work that only a CPU does, elsewhere. Raises InputError where none is left."""
    if device.type == "cpu":
        return config
    works = tuple(work for work in config.works if work != "int8")
    if not works:
        raise InputError(f"--works int8 is for a CPU, and this is on {device.type}")
    return dataclasses.replace(config, works=works)


@contextlib.contextmanager
def _material(
    config: BenchConfig, job: RunConfig, split: Split, name: str, device: torch.device
) -> Iterator[Material]:
    """Load the encoder `name` with random heads; a random one lies in a temporary folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = (
            save_random(EncoderConfig(), Path(place))
            if name == RANDOM_BASE
            else encoder_folder(name)
        )
        job = dataclasses.replace(job, weights=str(folder))
        encoder = BertModel.from_pretrained(folder, job.attention)
        model = build_model(job, copy.deepcopy(encoder), device).to(device)
        yield Material(folder, encoder, model, job, split, config.steps, config.rows, device)


def save_random(shape: EncoderConfig, folder: Path) -> Path:
    """Save an encoder of random weights, always the same, with the vocabulary of that on disk."""
    with seeded(0, torch.device("cpu")):
        encoder = BertModel(shape)
    encoder.vocab_files = read_vocab_files(encoder_folder(None))
    encoder.save_pretrained(folder)
    return folder


def _contenders(config: BenchConfig, material: Material) -> list[Contender]:
    """This package first, then its peers; the log names a peer that is not installed."""
    contenders: list[Contender] = [Ours(material)]
    for package in config.peers:
        if missing := [name for name in ("transformers", package) if find_spec(name) is None]:
            log.info("%s is left out: %s is not installed", package, missing[0])
        elif package == "transformers":
            contenders += [Peer(material, tuned=tuned) for tuned in (False, True)]
        else:
            contenders.append(Peer(material, tuned=False, terms=package))
    return contenders


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
    _check_agreement(contenders, min(config.sizes[0], len(material.split.examples)))
    return [
        row
        for work in config.works
        for size in (config.sizes[:1] if work == "adamw" else config.sizes)
        for row in _timed_work(config.rounds, material, contenders, (encoder, work, size))
    ]


def _timed_work(
    rounds: int, material: Material, contenders: Sequence[Contender], what: tuple[str, str, int]
) -> list[BenchRow]:
    """Time the work `what` (encoder, work, batch size) in interleaved rounds, by all who do it."""
    encoder, work, size = what
    steps = material.steps_of(work, size)
    tokens: dict[str, TokenCount] = {}
    able = [contender for contender in contenders if work in contender.works]
    with ProgressBar((rounds + 1) * len(able), f"{encoder}, {work}, batch {size}", "turns") as bar:

        def seconds(name: str, do: Callable[[int], TokenCount], numbers: Iterator[int]) -> float:
            turn = lambda: tokens.update({name: do(next(numbers))})  # noqa: E731
            with seeded(derive_seed(0, name), material.device):
                taken = seconds_of(turn, material.device)
            bar.update(1)
            return taken / steps

        turns = {
            peer.name: partial(seconds, peer.name, peer.prepared(work, size), count())
            for peer in able
        }
        for turn in turns.values():  # so that gradients and moments have their memory
            turn()
        times = interleaved(turns, rounds)
    return report.make_rows(encoder, work, size, times, tokens)


def _reached(config: BenchConfig, ours: Ours, encoder: str, rate: Rate) -> list[Share]:
    trial = ours.trial("plain")
    return [
        reached(encoder, trial, list(ours.drawn("step", size, 0)), rate, config.rounds)
        for size in config.sizes
    ]


def _short(encoder: str) -> str:
    """An encoder's name: its folder's, or that of the folder above where its own is `model`."""
    path = Path(encoder)
    return path.parent.name if path.name == "model" else path.name


_COMMAND = MeasuringCommand("bench", _DESCRIPTION, BenchConfig, run)
make_parser, main = _COMMAND.parser, _COMMAND.main

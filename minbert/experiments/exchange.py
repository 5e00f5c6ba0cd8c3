"""What ranks exchange a step, and how far that scales on paper: nothing is trained or timed.

Bytes are those of the tensors that `minbert/training/shared.py` and the loop hand to all-reduce.
Operations are counted on tensors that have shapes and no data (`measuring/ledger.py`).
"""

import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product

import torch
from torch import Tensor, nn

from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.encoder.locate import encoder_folder
from minbert.experiments.measuring import flags, ledger
from minbert.experiments.measuring.batch import random_batch
from minbert.experiments.measuring.command import MeasuringCommand
from minbert.experiments.measuring.outputs import check_outputs, write_outputs
from minbert.finetune.build import build_model
from minbert.finetune.config import RunConfig
from minbert.regularizers.registry import build_objective
from minbert.reports.tables import Table, shown
from minbert.support.command import show
from minbert.support.flags import Limit, check_values, flag
from minbert.support.places import BUNDLED_ENCODER

ABOUT = "Exchange between ranks"
# Devlin et al. 2019, section 3
SHAPES: Mapping[str, Callable[[], EncoderConfig]] = {
    "bundled": lambda: EncoderConfig.from_file(BUNDLED_ENCODER / "config.json"),
    "bert-base": EncoderConfig,
    "bert-large": lambda: EncoderConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
    ),
}
_STEP, _MACHINES = "the step", "the machines"
_DESCRIPTION = """\
Say what the ranks of a run exchange in a step, and compute from it how far they scale. The time of
a step is its counted operations over a rate that you give; the time of an exchange is its bytes
over the speed of a link. Nothing is timed, so this takes seconds on any machine. Typical:

  python -m minbert.experiments exchange
  python -m minbert.experiments exchange --encoders bert-base --gflops 50000 --links 100 --smart
"""


@dataclass(frozen=True)
class ExchangeConfig:
    """The step that ranks share, and the machines that they are on."""

    encoders: tuple[str, ...] = flag(
        tuple(SHAPES),
        _STEP,
        f"shapes of the encoder: {', '.join(SHAPES)}, or folders and names as for --weights",
        limit=Limit(lambda names: len(names) > 0, "one or more"),
        metavar="ENCODER",
        several=True,
    )
    smart: bool = flag(False, _STEP, "a step with both of SMART's terms, in place of a plain one")
    batch_size: int = flags.count(16, _STEP, "pairs a batch, which the ranks share")
    length: int = flag(32, _STEP, "tokens a text", limit=flags.LONG_ENOUGH, metavar="N")
    gflops: tuple[str, ...] = flags.numbers(
        "100 100000", _MACHINES, "operations that a rank makes in a second, in 10^9"
    )
    links: tuple[str, ...] = flags.numbers("25 400", _MACHINES, "speed of a link, in Gb/s")
    ranks: tuple[str, ...] = flags.numbers("2 8", _MACHINES, "ranks, two or more", least=2)
    json: str | None = flags.file(flags.JSON)
    csv: str | None = flags.file(flags.CSV)

    def __post_init__(self) -> None:
        check_values(self)

    def job(self, _given: Collection[str]) -> RunConfig:
        """The main job whose step it is; it reads no file."""
        return RunConfig(option="finetune", tasks=("para",), smart=self.smart).resolved()


@dataclass(frozen=True)
class Step:
    """A step of an encoder: its weights, the bytes that a rank exchanges, its operations."""

    encoder: str
    weights: int
    exchanged: int
    flops: int


@dataclass(frozen=True)
class ExchangeRow:
    """A step that several ranks share, on paper: its seconds are computed, not measured.

    `exchanged` is in bytes, `gflops` a rank's rate in 10^9 operations a second, `link` in Gb/s.
    `alone` has the seconds of the whole step by one process, `exchange` those of an all-reduce.
    From `even_pairs` pairs a rank on, a rank computes for longer than it exchanges, however many
    ranks there are.
    """

    encoder: str
    weights: int
    exchanged: int
    flops: int
    gflops: int
    link: int
    ranks: int
    alone: float
    exchange: float
    speed_up: float
    even_pairs: int


def exchanged(model: nn.Module, values: int) -> int:
    """The bytes that a rank hands to all-reduce in a step of one batch with `values` in the log.

    They are the gradients, a number in fp32 that `SharedObjective` adds to them, a mark for each
    tensor on whether it has a gradient (int32), the log's values (float64) and the highest signal
    (int64).
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    gradients = sum(weight.numel() * weight.element_size() for weight in weights)
    idle = weights[0].element_size()
    return gradients + idle + 4 * (len(weights) + 1) + 8 * values + 8


def all_reduce_seconds(size: int, bytes_a_second: float, ranks: int) -> float:
    """The least time of an all-reduce of `size` bytes over links of this speed.

    Every rank must send, and receive, 2 (n - 1) / n of the bytes, which a ring does (Patarasuk and
    Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters of workstations").
    """
    return 2 * (ranks - 1) / ranks * size / bytes_a_second


def _shape(name: str) -> EncoderConfig:
    if name in SHAPES:
        return SHAPES[name]()
    return EncoderConfig.from_file(encoder_folder(name, "--encoders") / "config.json")


def counted(config: ExchangeConfig, job: RunConfig, name: str) -> Step:
    """Count a step of an encoder. Raises InputError where there is no such encoder."""
    shape = _shape(name)
    positions = max(shape.longest, config.length) + shape.first_position
    shape = dataclasses.replace(shape, max_position_embeddings=positions)
    cpu, values = torch.device("cpu"), dict[str, Tensor]()
    with ledger.shapes_only():
        batch = random_batch(
            "para",
            config.batch_size,
            config.length,
            views=2,
            vocab_size=shape.vocab_size,
            device=cpu,
        )
        model = build_model(job, BertModel(shape, "reference"), cpu)
        objective = build_objective(job, model, steps=1)
        flops = ledger.flops(lambda: values.update(objective.backward(model, batch, seed=1)))
    weights = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return Step(name, weights, exchanged(model, len(values)), flops)


def on_paper(config: ExchangeConfig, step: Step) -> Iterator[ExchangeRow]:
    """The step on all machines that `config` names."""
    machines = product(config.gflops, config.links, config.ranks)
    for gflops, link, ranks in (map(int, numbers) for numbers in machines):
        rate, bytes_a_second = 1e9 * gflops, 1e9 * link / 8
        alone = step.flops / rate
        exchange = all_reduce_seconds(step.exchanged, bytes_a_second, ranks)
        yield ExchangeRow(
            **dataclasses.asdict(step),
            gflops=gflops,
            link=link,
            ranks=ranks,
            alone=alone,
            exchange=exchange,
            speed_up=alone / (alone / ranks + exchange),
            even_pairs=math.ceil(2 * step.exchanged / bytes_a_second * config.batch_size / alone),
        )


def run(config: ExchangeConfig, job: RunConfig) -> list[ExchangeRow]:
    """Count, compute, print two tables, and write the files that are asked for."""
    check_outputs(config, ABOUT, ExchangeRow)
    steps = [counted(config, job, name) for name in dict.fromkeys(config.encoders)]
    rows = [row for step in steps for row in on_paper(config, step)]
    show(shown([step_table(config, steps), paper_table(config, rows)]), end="")
    facts = {"about": ABOUT, "rows": [dataclasses.asdict(row) for row in rows]}
    write_outputs(config, rows, ExchangeRow, facts)
    return rows


def step_table(config: ExchangeConfig, steps: Sequence[Step]) -> Table:
    """What a step exchanges, and what it computes."""
    header = ["encoder", "million weights", "MB exchanged", "GFLOP a step", "KB for a GFLOP"]
    lines = [
        [
            step.encoder,
            f"{step.weights / 1e6:.1f}",
            f"{step.exchanged / 1e6:.1f}",
            f"{step.flops / 1e9:,.1f}",
            f"{step.exchanged / 1e3 / (step.flops / 1e9):,.0f}",
        ]
        for step in steps
    ]
    method = "SMART (both terms)" if config.smart else "plain"
    note = f"A {method} step of {config.batch_size} pairs with {config.length} tokens a text."
    return Table(ABOUT, header, lines, [note, "MB exchanged do not depend on the batch."])


def paper_table(config: ExchangeConfig, rows: Sequence[ExchangeRow]) -> Table:
    """Seconds and speed-ups: a line for each encoder, rate and link."""
    counts = [int(number) for number in dict.fromkeys(config.ranks)]
    header = ["encoder", "GFLOP/s a rank", "Gb/s", "step alone, s"]
    header += [f"all-reduce of {n}, s" for n in counts] + [f"speed-up by {n}" for n in counts]
    header += ["even at, pairs a rank"]
    lines = []
    for (encoder, gflops, link), group in groupby(rows, lambda r: (r.encoder, r.gflops, r.link)):
        several = {row.ranks: row for row in group}
        line = [encoder, f"{gflops:,}", str(link), f"{several[counts[0]].alone:.3g}"]
        line += [f"{several[n].exchange:.3g}" for n in counts]
        line += [f"{several[n].speed_up:.2g}" for n in counts]
        lines.append([*line, f"{several[counts[0]].even_pairs:,}"])
    notes = [
        "Step alone: operations over a rank's rate. All-reduce of n: 2 (n - 1) / n of the bytes "
        "over the link, without latency. Speed-up: step alone / (step alone / n + all-reduce), "
        "as if nothing were exchanged while the step computes.",
        "Even: from so many pairs a rank on, computing takes longer than the exchange, however "
        "many ranks there are.",
    ]
    return Table("On paper", header, lines, notes)


_COMMAND = MeasuringCommand("exchange", _DESCRIPTION, ExchangeConfig, run)
make_parser, main = _COMMAND.parser, _COMMAND.main

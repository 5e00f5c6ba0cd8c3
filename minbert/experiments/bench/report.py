"""What the bench found, as rows for programs and as tables to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minbert.experiments.bench.contender import WORKS, TokenCount
from minbert.experiments.bench.shares import PARTS
from minbert.experiments.measuring.rates import Rate, Share
from minbert.experiments.measuring.trial import Spread
from minbert.reports.tables import Table

ABOUT = "The same work by several stacks"


@dataclass(frozen=True)
class BenchRow:
    """One contender at one work. `ratio`: its time over ours in the same round; `low`, `high`
    quartiles over the rounds. Seconds are a step's, or a whole epoch's, inference's, update's.
    """

    encoder: str
    work: str
    batch_size: int
    contender: str
    seconds: float
    seconds_low: float
    seconds_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    padded_per_real: float | None


FIELDS = tuple(entry.name for entry in dataclasses.fields(BenchRow))


@dataclass(frozen=True)
class Found:
    """All that a run of the bench found."""

    setting: str
    rate: Rate
    rows: Sequence[BenchRow]
    reached: Sequence[Share]
    shares: Mapping[str, Mapping[str, float]]  # encoder -> part -> share of a step's time


def make_rows(
    encoder: str,
    work: str,
    batch_size: int,
    seconds: Mapping[str, Sequence[float]],
    tokens: Mapping[str, TokenCount],
) -> list[BenchRow]:
    """`seconds` of each contender in each round, the first of them ours."""
    ours = next(iter(seconds.values()))
    rows = []
    for name, own in seconds.items():
        time = Spread.of(own)
        ratio = Spread.of_ratios(own, ours)
        counted = tokens[name]
        padding = counted.padded / counted.real if counted.real else None
        rows.append(
            BenchRow(
                encoder=encoder,
                work=work,
                batch_size=batch_size,
                contender=name,
                seconds=time.median,
                seconds_low=time.low,
                seconds_high=time.high,
                ratio=ratio.median,
                ratio_low=ratio.low,
                ratio_high=ratio.high,
                padded_per_real=padding,
            )
        )
    return rows


def markdown(found: Found) -> str:
    """Every table, under the setting."""
    tables = [_ratios(found), _rates(found)]
    if found.shares:
        tables.append(_shares(found))
    return "\n".join([f"## {ABOUT}", "", found.setting, "", *(one.markdown() for one in tables)])


def _ratios(found: Found) -> Table:
    names = list(dict.fromkeys(row.contender for row in found.rows))
    groups: dict[tuple[str, str, int], dict[str, BenchRow]] = {}
    for row in found.rows:
        groups.setdefault((row.encoder, row.work, row.batch_size), {})[row.contender] = row
    header = ["encoder", "work", "batch", f"{names[0]}, s", *names[1:], "padded per real token"]
    lines = [
        [
            encoder,
            WORKS[work],
            str(size),
            f"{group[names[0]].seconds:.4g}",
            *(_ratio(group.get(name)) for name in names[1:]),
            " / ".join(_padding(group.get(name)) for name in names),
        ]
        for (encoder, work, size), group in groups.items()
    ]
    notes = [
        f"Columns of other names: their time over {names[0]}'s within a round, median (quartiles); "
        "above 1 they are slower.",
        "Seconds: of a step, or of the whole epoch, inference or update.",
        f"Padded tokens are in the batches; on a CPU {names[0]} computes them in attention alone.",
    ]
    return Table("Time", header, lines, notes)


def _ratio(row: BenchRow | None) -> str:
    return "–" if row is None else f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"


def _padding(row: BenchRow | None) -> str:
    return "–" if row is None or row.padded_per_real is None else f"{row.padded_per_real:.2f}"


def _rates(found: Found) -> Table:
    rate = found.rate
    machine = [
        f"the machine: {rate.size} x {rate.size} matrices",
        "–",
        f"{rate.flops / 1e9:.0f}",
        "100%",
    ]
    lines = [machine]
    for one in found.reached:
        spread = f"{one.flops_low / 1e9:.0f} to {one.flops_high / 1e9:.0f}"
        speed = f"{one.flops / 1e9:.0f} ({spread})"
        lines.append([one.encoder, str(one.batch_size), speed, f"{one.share:.0%}"])
    header = ["forward and backward", "batch", "GFLOP/s", "share"]
    notes = [f"Matrix products in {rate.dtype}; what is done counts, in attention on padding too."]
    return Table("Of the machine's limit", header, lines, notes)


def _shares(found: Found) -> Table:
    lines = [
        [encoder, *(f"{own[part]:.1%}" for part in PARTS)] for encoder, own in found.shares.items()
    ]
    notes = ["Attention's dropout counts as dropout; Python is what no operator took."]
    return Table("Where a training step's time goes", ["encoder", *PARTS], lines, notes)


def as_json(found: Found) -> dict[str, object]:
    """All of it."""
    return {"about": ABOUT, **dataclasses.asdict(found)}

"""The bench's results, as rows for programs and as tables to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minbert.experiments.bench.contender import WORKS, TokenCount
from minbert.experiments.bench.shares import PARTS
from minbert.experiments.measuring.rates import Rate, Share
from minbert.experiments.measuring.spread import Spread, with_quartiles
from minbert.reports.tables import Table, shown

ABOUT = "The same work by several stacks"


@dataclass(frozen=True)
class BenchRow:
    """The time that one contender takes for one work, median and quartiles over the rounds.

    `ratio` is its time over ours in the same round. Seconds are those of a step, or of a whole
    epoch, inference or update.
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


@dataclass(frozen=True)
class BenchReport:
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
    """A row for each contender from its `seconds` in each round; the first contender is ours."""
    ours = next(iter(seconds.values()))
    return [
        BenchRow(
            encoder,
            work,
            batch_size,
            name,
            **Spread.of(own).columns("seconds"),
            **Spread.of_ratios(own, ours).columns("ratio"),
            padded_per_real=tokens[name].padded_per_real,
        )
        for name, own in seconds.items()
    ]


def markdown(found: BenchReport) -> str:
    """Every table, under the setting."""
    texts = [table.markdown() for table in _tables(found)]
    return "\n".join([f"## {ABOUT}", "", found.setting, "", *texts])


def for_stdout(found: BenchReport) -> str:
    """The same as stdout's reader wants it."""
    return "\n".join([f"## {ABOUT}", "", found.setting, "", shown(_tables(found))])


def _tables(found: BenchReport) -> list[Table]:
    shares = [_shares(found)] if found.shares else []
    return [_ratios(found), _rates(found), *shares]


def _ratios(found: BenchReport) -> Table:
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
    return "–" if row is None else with_quartiles(row.ratio, row.ratio_low, row.ratio_high)


def _padding(row: BenchRow | None) -> str:
    return "–" if row is None or row.padded_per_real is None else f"{row.padded_per_real:.2f}"


def _rates(found: BenchReport) -> Table:
    rate = found.rate
    sizes = f"the machine: {rate.size} x {rate.size} matrices"
    lines = [[sizes, "–", f"{rate.flops / 1e9:.0f}", "100%"]]
    for share in found.reached:
        flops = [value / 1e9 for value in (share.flops, share.flops_low, share.flops_high)]
        speed = with_quartiles(flops[0], flops[1], flops[2], ".0f")
        lines.append([share.encoder, str(share.batch_size), speed, f"{share.share:.0%}"])
    header = ["forward and backward", "batch", "GFLOP/s", "share"]
    notes = [f"Matrix products in {rate.dtype}; what is done counts, in attention on padding too."]
    return Table("Of the machine's limit", header, lines, notes)


def _shares(found: BenchReport) -> Table:
    lines = [
        [encoder, *(f"{parts[part]:.1%}" for part in PARTS)]
        for encoder, parts in found.shares.items()
    ]
    notes = ["Attention's dropout counts as dropout; Python is what no operator took."]
    return Table("Where a training step's time goes", ["encoder", *PARTS], lines, notes)

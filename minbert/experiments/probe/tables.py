"""The tables of the report, and all scores as CSV.

They hold no time, so equal runs make equal bytes.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from minbert.experiments.probe.figures import MEAN, Series
from minbert.experiments.probe.outcome import Checkpoint, Outcome, Scores, references
from minbert.experiments.probe.verdicts import HOLDS, OPEN, REVERSED, Array, Verdict, shown
from minbert.reports.tables import Table, csv_text
from minbert.statistics.intervals import over_seeds, spearman_interval
from minbert.tasks.metrics import spearman
from minbert.tasks.registry import TASKS, TITLES

NAMES = {"3": "Figure 3: generalization", "4": "Figure 4: degradation", "5": "Figure 5: retention"}
MEASURES = ("cka", "effective_rank", "anisotropy", "mean_cosine", "distance")
_WORDS = {
    "cka": "linear CKA with pretrained",
    "effective_rank": "effective rank",
    "anisotropy": "anisotropy",
    "mean_cosine": "mean cosine",
    "distance": "relative parameter distance",
}


def title(task: str) -> str:
    """The task's name in tables."""
    return "mean of the probes" if task == MEAN else TITLES[task]


def figure_table(figure: str, series: Sequence[Series], scores: Scores) -> Table:
    """A figure's scores: a line for each method and point, a column for each panel."""
    rows = [[*row, *(_over(shown(own, row, scores)) for own in series)] for row in series[0].rows]
    for place in references(scores):
        tasks = [[task for _, task in next(iter(own.rows.values()))] for own in series]
        cells = [_over(np.mean([scores.values(place, t) for t in own], axis=0)) for own in tasks]
        rows.append([place.method, "–", *cells])
    header = ["encoder", "probed", *(title(own.name) for own in series)]
    notes = [
        f"{scores.solver} probes; mean ± standard deviation over {len(scores.seeds)} seeds [95% "
        "interval of the mean, Student's t]; the pretrained encoder is one",
    ]
    return Table(f"{NAMES[figure]}, {scores.solver}", header, rows, notes)


def _over(values: Array) -> str:
    over = over_seeds(values)
    if over.count == 1:
        return f"{over.mean:.4f}"
    low, high = over.interval
    return f"{over.mean:.4f} ± {over.sd:.4f} [{low:.4f}, {high:.4f}]"


def verdict_table(figure: str, found: Sequence[Verdict], solver: str) -> Table:
    """What the rule says of each claim."""
    header = ["claim", "probe", "difference", "95% interval", "p (Holm)", "verdict"]
    header.append("smallest that is seen")
    rows = [
        [
            one.contrast.claim,
            title(one.contrast.series.name),
            f"{one.difference:+.4f}",
            f"[{one.interval.low:+.4f}, {one.interval.high:+.4f}]",
            f"{one.corrected:.4f}",
            one.word,
            f"{one.detectable:.4f}",
        ]
        for one in found
    ]
    notes = [
        "a claim is the paper's, and a positive difference agrees with it. The interval is not "
        f"corrected, p is, for the figure's {len(found)} contrasts. The last column is found four "
        "times in five at the level that Holm asks of the smallest p"
    ]
    return Table(f"Verdicts on {NAMES[figure].lower()}, {solver}", header, rows, notes)


def sentence(figure: str, found: Sequence[Verdict], solver: str) -> str:
    """A figure's verdicts in a sentence."""
    counts = {word: sum(one.word == word for one in found) for word in (HOLDS, REVERSED, OPEN)}
    if not any(counts.values()):
        return f"{NAMES[figure]}, {solver} probes: one seed gives no verdict."
    return (
        f"{NAMES[figure]}, {solver} probes: of {len(found)} contrasts {counts[HOLDS]} hold, "
        f"{counts[REVERSED]} are reversed, {counts[OPEN]} cannot be told from none."
    )


def rows_table(scores: Scores) -> Table:
    """The rows of each probe, its metric, and the strength that was chosen for the pretrained."""
    first = scores.at(references(scores)[0])[0]
    rows = [
        [
            TITLES[task],
            TASKS[task].metric_name,
            f"{record['train_rows']:,}",
            f"{record['dev_rows']:,}",
            "–" if record["strength"] is None else f"{record['strength']:g}",
            f"{max(own.records[task]['gradient'] for own in scores.of.values()):.1e}",
        ]
        for task, record in first.records.items()
    ]
    header = ["probe", "score", "train rows", "dev rows", "strength", "largest gradient"]
    notes = ["the strength is the pretrained encoder's; the gradient is the largest of all probes"]
    return Table(f"Probes, {scores.solver}", header, rows, notes)


def drift_table(scores: Scores) -> Table:
    """The last layer of every place: how it lies, and how far it is from the pretrained one."""
    rows = [
        [
            place.row,
            *(
                f"{np.mean([measure(own, name) for own in scores.at(place)]):.4g}"
                for name in MEASURES
            ),
            f"{_tail(scores.at(place)):.3g}",
        ]
        for place in scores.places
    ]
    header = ["encoder", *(_WORDS[name] for name in MEASURES), "tenth singular value"]
    notes = [
        "means over seeds; the vectors are means over tokens of dev texts of the probes. The last "
        "column is relative to the largest singular value"
    ]
    return Table("Drift of the last layer", header, rows, notes)


def layer_table(scores: Scores) -> Table:
    """Every layer's CKA with the pretrained encoder and effective rank."""
    layers = range(len(scores.at(references(scores)[0])[0].drift["layers"]))
    rows = [
        [place.row, *(_layer(scores.at(place), layer) for layer in layers)]
        for place in scores.places
    ]
    header = ["encoder", "embeddings", *(f"layer {layer}" for layer in layers if layer)]
    notes = ["linear CKA with the pretrained encoder's layer / effective rank, means over seeds"]
    return Table("Drift layer by layer", header, rows, notes)


def _layer(checkpoints: Sequence[Checkpoint], layer: int) -> str:
    own = [checkpoint.drift["layers"][layer] for checkpoint in checkpoints]
    cka, rank = (np.mean([one[name] for one in own]) for name in ("cka", "effective_rank"))
    return f"{cka:.3f} / {rank:.4g}"


def _tail(checkpoints: Sequence[Checkpoint]) -> float:
    spectra = [own.drift["layers"][-1]["spectrum"] for own in checkpoints]
    return float(np.mean([spectrum[min(9, len(spectrum) - 1)] for spectrum in spectra]))


def measure(checkpoint: Checkpoint, name: str) -> float:
    """A measure of the last layer, or of all weights."""
    if name == "distance":
        return float(checkpoint.drift["distance"]["all"])
    return float(checkpoint.drift["layers"][-1][name])


def correlation_table(scores: Scores) -> Table | None:
    """Spearman's rho of each measure with each probe's score; None for fewer than four encoders."""
    links = scores.links
    if len(links) < 4:
        return None
    tasks = list(links[0].records)
    columns = {TITLES[task]: np.array([own.score(task) for own in links]) for task in tasks}
    columns["mean"] = np.mean(list(columns.values()), axis=0)
    rows = [
        [_WORDS[name], *(_rho([measure(own, name) for own in links], c) for c in columns.values())]
        for name in MEASURES
    ]
    notes = [
        f"over {len(links)} fine-tuned encoders, the references left out [95% interval, Bonett and "
        "Wright]. Encoders of a chain come from one another, so the intervals are too narrow"
    ]
    head = f"Spearman's rho of drift and probe score, {scores.solver}"
    return Table(head, ["measure", *columns], rows, notes)


def _rho(values: Sequence[float], scores: Array) -> str:
    own = np.asarray(values)
    low, high = spearman_interval(own, scores)
    return f"{spearman(own, scores):+.2f} [{low:+.2f}, {high:+.2f}]"


def as_csv(outcome: Outcome) -> str:
    """A line for each encoder, solver, seed and task, with all digits, for programs."""
    header = ["solver", "method", "link", "task_trained", "seed", "probe", "metric", "score"]
    header += ["strength", "loss", "gradient", *MEASURES]
    return csv_text([header, *(row for s in outcome.by_solver.values() for row in _lines(s))])


def _lines(scores: Scores) -> Iterator[list[object]]:
    for (place, seed), own in scores.of.items():
        drift = [measure(own, name) for name in MEASURES]
        for task, record in own.records.items():
            yield [
                *(scores.solver, place.method, place.link, place.task, seed, task),
                *(TASKS[task].metric_name, record["score"], record["strength"], record["loss"]),
                *(record["gradient"], *drift),
            ]


def hours(outcome: Outcome) -> Mapping[str, str]:
    """The hours that each kind of step took, in words."""
    return {kind: f"{value:.2f} hours" for kind, value in outcome.hours.items()}

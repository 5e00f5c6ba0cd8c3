"""The model card of an export: what it is, its scores with intervals, its data, its command."""

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert.export.forms import SENTENCES, TRANSFORMERS
from minbert.finetune.config import ResolvedConfig
from minbert.finetune.identity import DATA_PLACES, INDIFFERENT, OUTPUTS
from minbert.finetune.trained import TrainedRun
from minbert.statistics.intervals import Interval, accuracy_interval, correlation_interval
from minbert.support import durable_files
from minbert.support.console import printable
from minbert.support.flags import words_for
from minbert.support.places import BUNDLED_ENCODER, MAIN_JOB
from minbert.tasks.course import BUNDLED_TEACHER
from minbert.tasks.metrics import ACCURACY, PEARSON
from minbert.tasks.task import Task

_PLACES = "Files and folders stand without the folders above them; the hashes say which they are."
_MARKUP = re.compile(r"[\\`*_<>&\[\]|#]")
_LEFT_OUT = (*INDIFFERENT, *OUTPUTS, *DATA_PLACES)


def card(run: TrainedRun, to: str, tasks: Sequence[Task], use: str) -> bytes:
    """The README.md of an export of these tasks' heads. `use` is Python that loads it."""
    kind = "text-classification" if to == TRANSFORMERS else "sentence-similarity"
    front = {"library_name": to, "pipeline_tag": kind, "tags": "[bert, minbert]"}
    if published := run.manifest.get("published"):
        front["base_model"] = published["name"]
    titles = " and ".join(_as_words(task.title) for task in tasks) or "texts"
    parts = [
        "\n".join(["---", *(f"{name}: {value}" for name, value in front.items()), "---"]),
        f"# {titles}: a BERT trained with minbert",
        f"```python\n{use}```",
        *_remarks(run, to, tasks),
        *_scores(run),
        _data(run),
        f"## Training\n\n{_PLACES}\n\n```bash\n{_command(_as_typed(run))}\n```",
    ]
    return ("\n\n".join(parts) + "\n").encode()


def _as_words(title: str) -> str:
    """A title in one line of Markdown, in which no letter is markup."""
    return _MARKUP.sub(r"\\\g<0>", printable(" ".join(title.split())))


def _remarks(run: TrainedRun, to: str, tasks: Sequence[Task]) -> list[str]:
    said = [f"Texts are cut to {run.tokenizer.max_length} tokens."]
    for task in (task for task in tasks if task.top is not None):
        low, high = task.ends
        cosine = f"{f'{low:g} + ' * (low != 0)}{high - low:g} times the cosine"
        what = "The output" if to == TRANSFORMERS else cosine
        said.append(f"{what}, kept within {low:g} and {high:g}, is the run's {task.name} score.")
    if run.config.int8:
        said.append("The run was scored in 8-bit integers; these weights compute in fp32.")
    if to == SENTENCES and not tasks:
        said.append("The run's heads are not a part of this folder, only the vectors below them.")
    return [" ".join(said)]


def _scores(run: TrainedRun) -> list[str]:
    """A table of all dev scores of the run."""
    rows = [
        f"| {name} | {split} | {metric} | {score:.3f} | "
        f"{_interval(run, name, split, metric, score)} |"
        for name, splits in run.manifest["metrics"].items()
        for split, values in splits.items()
        for metric, score in values.items()
    ]
    header = ["| task | set | score | value | 95% interval |", "|---|---|---|---:|---|"]
    notes = ["Intervals are over the examples; another seed moves a score too."]
    if _began_bundled(run):
        notes.append(BUNDLED_TEACHER)
    return ["## Scores", "\n".join([*header, *rows]), " ".join(notes)] if rows else []


def _began_bundled(run: TrainedRun) -> bool:
    """Whether the run fine-tuned the encoder that comes with the package."""
    bundled = BUNDLED_ENCODER / "model.safetensors"
    own = run.manifest["sha256"].get("weights")
    return bundled.is_file() and own == durable_files.sha256_of(bundled)


def _interval(run: TrainedRun, task: str, split: str, metric: str, score: float) -> str:
    count = run.manifest.get("labelled", {}).get(task, {}).get(split, 0)
    found: Interval | None = None
    if metric == ACCURACY.name and count:
        found = accuracy_interval(round(score * count), count)
    elif metric == PEARSON.name and count:
        found = correlation_interval(score, count)
    return "–" if found is None else f"{found.low:.3f} to {found.high:.3f} ({count} examples)"


def _data(run: TrainedRun) -> str:
    lines = [f"- {name}: `{digest}`" for name, digest in run.manifest["sha256"].items()]
    about = "SHA-256 of every file that the run has read, its encoder's among them:"
    return "\n".join(["## Data", "", about, "", *lines])


def _as_typed(run: TrainedRun) -> ResolvedConfig:
    """The run's settings with the encoder that it began with, not the run's copy of its files."""
    weights = run.manifest["config"]["weights"]
    if published := run.manifest.get("published"):
        weights = f"{published['name']}@{published['revision']}"
    return dataclasses.replace(run.config, weights=weights)


def _command(config: ResolvedConfig) -> str:
    """The command line that repeats a run, with the values that its encoder recommended."""
    words = MAIN_JOB.split()
    for entry in dataclasses.fields(config):
        value: Any = getattr(config, entry.name)
        if entry.name not in _LEFT_OUT and value != entry.default:
            as_kept = list(map(shared, value)) if isinstance(value, tuple) else shared(value)
            words += words_for(entry, as_kept)
    return " ".join(map(shlex.quote, [*words, *_data_flags(config)]))


def _data_flags(config: ResolvedConfig) -> list[str]:
    """The data's folder where the files have their default names in one, else every file."""
    fields: Mapping[str, Any] = config.__dataclass_fields__
    files = {
        f"{task}_{split}": Path(config.file(task, split))
        for task, split in config.read_keys
        if f"{task}_{split}" in fields  # a user's own task has its files in its definition
    }
    usual = all(path.name == Path(fields[key].default).name for key, path in files.items())
    folders = {path.parent for path in files.values()}
    if usual and len(folders) == 1:
        return [f"--data_dir={shared(str(folders.pop().resolve()))}"]
    return [f"--{key}={shared(str(path))}" for key, path in files.items()]


def shared(value: Any) -> Any:
    """A setting as others may read it: of a whole path the last part alone.

    The folders above it are those of one machine, and often have a person's name.
    """
    if isinstance(value, str) and value.startswith("{"):  # a task of the user's own
        about = json.loads(value)
        files = {split: shared(path) for split, path in about["files"].items()}
        return json.dumps({**about, "files": files}, ensure_ascii=False)
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if is_path else value

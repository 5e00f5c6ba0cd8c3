"""The places where faults happen: a tiny encoder, a few rows of the sample, a command.

Every place is a copy of one that was prepared: `fresh`, with the predictions of an earlier run, or
`stopped-K`, where the run was stopped after K steps and waits for --resume.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from minbert.data.subwords import SPECIAL_TOKENS
from minbert.encoder.bert import BertModel
from minbert.encoder.config import EncoderConfig
from minbert.experiments.faults import grids
from minbert.experiments.faults.operations import EVERY
from minbert.experiments.faults.process import Ended, Forks, Interpreters, Order, Started
from minbert.experiments.faults.strikes import NOTHING, Fault
from minbert.support.errors import RunError
from minbert.support.places import SAMPLE
from minbert.tasks.registry import COURSE_TASKS, TASKS

ROWS = 12  # of every file
STEPS, INTERVAL = 12, 2  # of a run, and between two checkpoints
STOPS = (3, 5, 6, 8, 11)
FRESH, STOPPED = "fresh", "stopped-"
_COMMAND = f"""--option finetune --rrobin --smart --weights encoder --data_dir data --epochs 2
--batch_size 6 --lr 1e-3 --checkpoint_every {INTERVAL} --device cpu --output_dir out""".split()
_DRAFT = re.compile(r"\.[0-9a-f]{8}\.[0-9a-f]{8}\.\d+\.tmp")
_TIMES = ("seconds", "_per_s")  # fields of the log that no two runs have alike


def make(folder: Path, seed: int) -> None:
    """Write an encoder with random weights, and a few rows of each file of the sample."""
    (folder / "data").mkdir(parents=True)
    words: set[str] = set()
    for task in COURSE_TASKS:
        for name in TASKS[task].files.values():
            lines = (SAMPLE / name).read_text(encoding="utf-8").splitlines(keepends=True)
            text = "".join(lines[: ROWS + 1])
            (folder / "data" / name).write_text(text, encoding="utf-8")
            words.update(re.findall("[a-z]+", text.lower()))
    vocabulary = [*SPECIAL_TOKENS, *sorted(words)]
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    encoder = BertModel(
        EncoderConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        )
    )
    encoder.vocab_files = {"vocab.txt": "".join(f"{word}\n" for word in vocabulary).encode()}
    encoder.save_pretrained(folder / "encoder")


def results(place: Path) -> dict[str, Any]:
    """What a run has come to: prediction files, the best model, dev scores, the log of its steps.

    What is missing is left out.
    """
    files = [*place.glob("predictions/*.csv"), *place.glob("out/best-*/*.safetensors")]
    found: dict[str, Any] = {str(path.relative_to(place)): path.read_bytes() for path in files}
    if (place / "out" / "log.jsonl").exists():
        lines = (place / "out" / "log.jsonl").read_text(errors="replace").splitlines()
        found["log"] = [_lasting(line) for line in lines]
    manifest = place / "out" / "manifest.json"
    if manifest.exists():
        with contextlib.suppress(ValueError):
            told = json.loads(manifest.read_text(encoding="utf-8"))
            found |= {"status": told["status"], "dev": told.get("dev")}
    return found


def _lasting(line: str) -> Any:
    try:
        row = json.loads(line)
    except ValueError:  # a kill or a full disk cut it
        return line
    return {key: value for key, value in row.items() if not key.endswith(_TIMES)}


def predictions(found: Mapping[str, Any]) -> dict[str, bytes]:
    """The prediction files among the results."""
    return {name: found[name] for name in found if name.startswith("predictions/")}


def steps_made(place: Path) -> int:
    """The training steps that all processes in a place have made."""
    path = place.parent / "steps.txt"
    return len(path.read_text().splitlines()) if path.exists() else 0


@dataclass(frozen=True)
class Site:
    """The folder of all places, and the two ways of starting processes there.

    A place where something was lost is kept below `out`.
    """

    root: Path
    out: Path
    forks: Forks
    interpreters: Interpreters
    seed: int

    def start(
        self,
        place: Path,
        *more: str,
        fault: Fault = NOTHING,
        plain: bool = False,
        printed: str = "printed.txt",
    ) -> Started:
        """Start the command in a place."""
        order = Order(str(place), (*_COMMAND, *more), fault, printed=printed)
        return (self.interpreters if plain else self.forks).start(order)

    def run(self, place: Path, *more: str, fault: Fault = NOTHING, plain: bool = False) -> Ended:
        """Run the command in a place, to its end."""
        return self.start(place, *more, fault=fault, plain=plain).ended()

    def home(self, template: str) -> Path:
        """The prepared place of that name, which is made when it is first asked for."""
        place = self.root / template / "place"
        if not place.exists():
            stop = int(template.removeprefix(STOPPED))
            details = {"numbers": [int(signal.SIGTERM)], "gaps": []}
            fault = Fault("signals", step=stop, details=details)
            self.run(self.copy(FRESH, template), fault=fault)
        return place

    def copy(self, template: str, name: str) -> Path:
        """A new place like a prepared one; what had been there before is removed."""
        source, home = self.home(template), self.root / name
        shutil.rmtree(home, ignore_errors=True)
        (home / "attic").mkdir(parents=True)
        shutil.copytree(source, home / "place", symlinks=True)
        return home / "place"

    def clear(self, place: Path) -> None:
        """Remove a place, whatever stands there now."""
        shutil.rmtree(place.parent, ignore_errors=True)

    def prepare(self) -> Prepared:
        """Make the fresh place, and run the command there. Raises RunError where it fails."""
        fresh = self.root / FRESH / "place"
        process = self.forks.call(make, fresh, self.seed)
        process.join()
        self._calm(fresh, "--seed", "2")
        earlier = predictions(results(fresh))
        shutil.rmtree(fresh / "out")
        calm = self.copy(FRESH, "calm")
        self._calm(calm)
        return Prepared(results(calm), earlier)

    @cached_property
    def grid(self) -> tuple[Mapping[str, Any], int]:
        """The results of a grid without a fault, and the steps that it takes. Raises RunError."""
        place = self.copy(FRESH, "calm-grid")
        ended = self.run_grid(place)
        found, steps = grids.results(place), steps_made(place)
        self.clear(place)
        if ended.code != 0 or not found:
            raise RunError(f"{place}: the grid without a fault failed: {ended.said}")
        return found, steps

    def run_grid(self, place: Path, fault: Fault = NOTHING) -> Ended:
        """Run the grid in a place, to its end."""
        return self.forks.start(Order(str(place), grids.COMMAND, fault, grids.ENTRY)).ended()

    def _calm(self, place: Path, *more: str) -> None:
        ended = self.run(place, *more)
        if ended.code != 0:
            raise RunError(f"{place}: the run without a fault failed: {ended.said}")

    @cached_property
    def _traces(self) -> dict[str, list[str]]:
        return {}

    def operations(self, template: str, kinds: Sequence[str]) -> list[str]:
        """Every operation of these kinds of a run from a prepared place, in its order, in words.

        Paths are the place's, and drafts have no names of their own.
        """
        if template not in self._traces:
            place = self.copy(template, f"trace-{template}")
            self.run(place, *resuming(template), fault=Fault(only=EVERY))
            seen = json.loads((place.parent / "seen.json").read_text(encoding="utf-8"))
            self.clear(place)
            words = [_DRAFT.sub(".draft", each).replace(f"{place}/", "") for each in seen]
            self._traces[template] = words
        return [words for words in self._traces[template] if words.split()[0] in kinds]


@dataclass(frozen=True)
class Prepared:
    """The results of the run without a fault, and the predictions that stood there before it."""

    calm: Mapping[str, Any]
    earlier: Mapping[str, bytes]


def resuming(template: str) -> Iterator[str]:
    """The flag that goes on with a run that was stopped."""
    if template != FRESH:
        yield "--resume"

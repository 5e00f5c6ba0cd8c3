"""The cost of methods as a part of `all`: measured once, and as much as the scale says."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from minbert.experiments.cost import command, report
from minbert.experiments.cost.config import CostConfig
from minbert.experiments.cost.methods import METHODS, typed
from minbert.experiments.cost.report import CostRow
from minbert.experiments.cost.workload import Workload, described
from minbert.experiments.grid.cells import key_of
from minbert.experiments.measuring.command import on_device
from minbert.experiments.measuring.outputs import as_csv
from minbert.finetune import cli
from minbert.finetune.config import RunConfig
from minbert.reports.report import Plots, Section
from minbert.reports.tables import Table, shown
from minbert.support import durable_files, untrusted
from minbert.support.command import show
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.places import BUNDLED_ENCODER
from minbert.tasks.registry import TITLES
from minbert.training.record import machine

TITLE = "Cost"
_SCALES: Mapping[str, Mapping[str, int]] = {
    "smoke": {"batch_size": 4, "rounds": 3},
    "small": {"batch_size": 16, "rounds": 5},
    "full": {"batch_size": 64, "rounds": 5},
}


@dataclass(frozen=True)
class CostPart:
    """A measurement that is planned: its flags, and the main job that they make."""

    config: CostConfig
    job: RunConfig
    command: str
    out: Path
    name: str  # of its files

    @classmethod
    def planned(cls, scale: str, extra: Sequence[str], out: Path) -> CostPart:
        """Plan it. `extra` are the main job's flags for all rows; the cost command's own count.

        Without `--weights` a smoke run takes the bundled encoder, whatever else is on disk. Raises
        InputError.
        """
        known = {entry.name for entry in dataclasses.fields(CostConfig)}
        also = vars(cli.make_parser().parse_args(list(extra)))
        given: dict[str, Any] = {"task": "para", **_SCALES[scale]}
        if scale == "smoke" and BUNDLED_ENCODER.is_dir():
            given["weights"] = str(BUNDLED_ENCODER)
        given |= {name: value for name, value in also.items() if name in known}
        config = CostConfig(**given)
        job, _ = on_device(config.job(given))
        command = f"python -m minbert.experiments cost {typed(given, shlex.quote)}"
        methods = [(method.name, method.flags) for method in METHODS]
        # wall times depend on the machine; the state of the code is in the cell's key
        here = {**machine(torch.device("cpu")), "git": None, "host": platform.node()}
        decisive = json.dumps([key_of(job), config.rounds, methods, here])
        digest = hashlib.sha256(decisive.encode()).hexdigest()[:6]
        return cls(config, job, command, out, f"cost-{scale}-{digest}")

    def run(self) -> Section:
        """Measure, unless that was done before; print and write the table. Raises InputError."""
        ledger, rows = self._measured(self.out / f"{self.name}.json")
        table = report.table(rows)
        markdown = f"{table.markdown()}\n`{self.command}`\n"
        texts = {".md": markdown, ".csv": as_csv(rows, CostRow), ".tex": table.latex()}
        durable_files.write_texts(
            {self.out / f"{self.name}{end}": text for end, text in texts.items()}
        )
        show(f"{shown([table])}\n`{self.command}`\n")
        return self._section(ledger, rows)

    def _measured(self, path: Path) -> tuple[dict[str, Any], list[CostRow]]:
        """The ledger in `path` and its rows, measured anew where the file cannot be read."""
        with contextlib.suppress(InputError, ValueError, KeyError, TypeError):
            ledger = untrusted.read_object(path)
            rows = [CostRow(**row) for row in ledger["methods"]]
            if report.table(rows).rows:  # whose values are what they should be
                log.info("cost: measured before, in %s", path)
                return ledger, rows
        workload = Workload.prepare(self.job, self.config.length)
        log.info("cost: %s", workload)
        rows = command.measure(workload, self.config.rounds)
        ledger = command.as_json(workload, self.config.rounds, rows)
        durable_files.write_json(path, ledger)
        return ledger, rows

    def _section(self, ledger: Mapping[str, Any], rows: Sequence[CostRow]) -> Section:
        from minbert.experiments.cost import plots  # matplotlib only where something is plotted

        weights = f"weights {Path(ledger['weights']).name}"
        workload = described(ledger, task=TITLES[ledger["task"]], weights=weights)
        words = "Bars are what was counted and measured here, open diamonds what the paper claims."
        bars = Plots("Bars", words, list(plots.pictures(rows)))
        commands = Table("Commands", ["table", "command"], [[TITLE, f"`{self.command}`"]])
        table = report.table(rows)
        facts = [workload, report.standard(rows[0])]
        return Section(TITLE, facts, tables=[table], plots=[bars], commands=commands)

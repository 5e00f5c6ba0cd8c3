"""The cells of a grid: one row's command with one seed, addressed by all that decides its result.

A cell's key is a hash of the settings, of the bytes of the data and weights files, and of the code
that the main job consists of. Equal keys are one run, wherever the files lie and whichever
experiment asks for it; another key is another folder. Machine, number of threads and versions of
libraries are not in the key, since several machines share a grid: a result may differ by their
rounding, and the report names them.
"""

import ast
import contextlib
import hashlib
import json
import logging
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minbert.experiments.grid.experiment import Experiment, GridRow, Scale, flags_in
from minbert.finetune import cli
from minbert.finetune.config import RunConfig
from minbert.finetune.identity import input_files, settings
from minbert.finetune.precision import comparable
from minbert.finetune.recommended import recommended
from minbert.support import durable_files, untrusted
from minbert.support.console import log
from minbert.support.errors import InputError

_PACKAGE = Path(cli.__file__).parents[1]
MAIN_JOB = "minbert.finetune.cli"
_DECIDED = ("--seed", "--output_dir", "--resume", "--limit")  # grid and scale decide them
_SHOWING = "minbert.finetune.report"  # only shows a result: another look makes no other cell
_HOW = ("device", "use_gpu", "strict")  # a resumed run may change them, a cell may not
RESULT, RUN, FAILURE, CLAIMS, DEV = "result.json", "run", "failure.json", "claims", "dev.npz"


@dataclass(frozen=True)
class Cell:
    """A run of a grid: `command` has the main job's flags, seed included; `key` is the hash."""

    row: str
    seed: int
    command: str
    key: str
    cost: float = 1.0

    @property
    def name(self) -> str:
        """The cell's name in messages."""
        return f"{self.row}, seed {self.seed}"

    @property
    def module(self) -> str:
        """The module whose `main` is the cell's process."""
        return "minbert.experiments.grid.cell"

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the cells whose results must be there before this one can begin."""
        return ()

    def folder(self, out: Path) -> Path:
        """The cell's folder below the runner's."""
        return out / "cells" / self.key

    def failure(self, out: Path, since: float = 0.0) -> str | None:
        """Return why the last process failed, if it did, and not before `since`, in seconds."""
        path = self.folder(out) / FAILURE
        with contextlib.suppress(OSError, InputError, KeyError):
            if path.stat().st_mtime >= since:
                return str(untrusted.read_object(path)["why"])
        return None


def plan(experiment: Experiment, scale: Scale, seeds: int, extra: Sequence[str]) -> list[Cell]:
    """Every cell of the grid, seeds outermost, so that a stopped grid has whole replications.

    `extra` are flags of the main job for all rows. Raises InputError where a row's flags are wrong,
    where `extra` would change what a row is, and where two rows would be the same run.
    """
    _check_flags(experiment.rows, flags_in(extra), flags_in(shlex.split(experiment.seeded)))
    shared = experiment.shared
    if flags_in(shlex.split(shared)) & flags_in(extra):
        shared = ""
    cells: dict[str, Cell] = {}
    for seed in range(experiment.first_seed, experiment.first_seed + seeds):
        for row in experiment.rows:
            for flags in row.commands:
                common = shlex.join(extra)
                how_much = scale.flags(f"{flags} {common}")
                parts = (flags, shared, how_much, common, experiment.seeded.format(seed=seed))
                command = " ".join(part for part in parts if part)
                with quietly() if cells else contextlib.nullcontext():
                    config = configuration(command)
                if "--precision" not in flags_in(shlex.split(command)):
                    command += f" --precision {config.precision}"  # the same on any machine
                key = key_of(config)
                if key in cells:
                    raise InputError(
                        f"rows {cells[key].row!r} and {row.name!r}: differ in nothing that decides "
                        "a result; leave one out"
                    )
                cells[key] = Cell(row.name, seed, command, key, row.cost / len(row.commands))
    return list(cells.values())


def _check_flags(rows: Sequence[GridRow], extra: Collection[str], seeded: Collection[str]) -> None:
    """Refuse a flag that the experiment or its seed decides, or that a row and `extra` both give.

    argparse would keep the last value, and the row's name would be wrong.
    """
    for flag in sorted(extra):
        if flag == "--epochs" or flag in seeded or _is_decided(flag):
            raise InputError(f"{flag}: is decided by the experiment, not given after --")
    for row in rows:
        own = flags_in(word for command in row.commands for word in shlex.split(command))
        for flag in sorted(own):
            if _is_decided(flag):
                raise InputError(f"row {row.name!r}: {flag} is decided by the experiment")
            if flag in extra:
                raise InputError(f"{flag}: row {row.name!r} has its own; leave it out after --")


def _is_decided(flag: str) -> bool:
    return flag in _DECIDED or flag.endswith("_out")


def configuration(command: str) -> RunConfig:
    """The run's configuration from a command's flags, with files located and nothing unset."""
    config = comparable(cli.parse(shlex.split(command)))
    return config.resolved(recommended(Path(str(config.weights)), config.option))


def key_of(config: RunConfig, start: str = MAIN_JOB, **more: str) -> str:
    """The cell's key: 16 hex digits over settings, input files, code and `more` facts.

    The code is what the module `start` imports. The device counts as it was asked for: the machine
    that plans a grid may have no GPU.
    """
    asked = {name: getattr(config, name) for name in _HOW}
    asked = {name: value for name, value in asked.items() if value != getattr(RunConfig, name)}
    hashes = {key: _hash_of(path.resolve()) for key, path in input_files(config).items()}
    code = code_hash(start)
    decisive = {"settings": settings(config) | asked, "sha256": hashes, "code": code, **more}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _hash_of(path: Path) -> str:
    return durable_files.sha256_of(path)


@cache
def code_hash(start: str = MAIN_JOB) -> str:
    """The SHA-256 over all modules that a module imports, directly or through others."""
    names = sorted(_modules(start))
    hashes = {name: durable_files.sha256_of(_file_of(name)) for name in names}
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


def _modules(start: str) -> set[str]:
    """The module `start`, those that it imports, those that these import, and so on."""
    names, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in names and not name.startswith(_SHOWING):
            names.add(name)
            waiting += _imports(_file_of(name))
    return names


def _file_of(module: str) -> Path:
    return _PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")


@cache
def _imports(path: Path) -> Sequence[str]:
    """The modules of this package that a file imports."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = (name for name in found if name.startswith("minbert."))
    return [name for name in ours if _file_of(name).is_file()]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Log warnings only, so that the parser tells of data and weights for the first cell alone."""
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)

"""`python -m minbert.classroom autograder OUT.zip`: the zip that Gradescope takes."""

import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from minbert.classroom import recorded as records
from minbert.classroom.emptying import starters_files
from minbert.classroom.marking.config import AutograderConfig
from minbert.classroom.marking.gradescope import GOLD, HIDDEN, SETTINGS
from minbert.classroom.marking.tree import ENTRY
from minbert.classroom.recording import recorded
from minbert.classroom.source import PACKAGE
from minbert.classroom.starter import MODULES
from minbert.classroom.steps import Step
from minbert.grade.gold import Gold, file_of
from minbert.support import durable_files
from minbert.support.command import run_command, show
from minbert.support.errors import InputError
from minbert.support.flags import OneLineParser, parser_for
from minbert.support.outputs import refusing_unwritable

_DESCRIPTION = """\
Write the zip that Gradescope takes as an autograder. It marks a starter of the same --holes.

  python -m minbert.classroom autograder autograder.zip
"""
_SCRIPTS = ("setup.sh", "run_autograder")
_FOLDER = PACKAGE / "classroom" / "marking" / "gradescope_scripts"
_REQUIREMENTS = PACKAGE / "classroom" / "handout" / "requirements.txt"
_MARKING = "minbert.classroom.marking.gradescope"
_TABLES = ("minbert/classroom/steps.toml",)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member, so that the same content is the same zip


def make_parser() -> OneLineParser:
    """Return the parser: one flag for each field of AutograderConfig, and the zip."""
    parser = parser_for(
        AutograderConfig,
        prog="python -m minbert.classroom autograder",
        usage="%(prog)s OUT.zip [flags]",
        description=_DESCRIPTION,
    )
    parser.add_argument("zip", metavar="OUT.zip", type=Path, help="the zip to be written")
    return parser


def make_autograder(config: AutograderConfig, path: Path) -> None:
    """Write the zip. Raises InputError where it cannot be written, or is no zip of before."""
    if path.suffix.lower() != ".zip":
        raise InputError(f"{path}: name a file that ends in .zip")
    with refusing_unwritable(str(path)):
        durable_files.check_writable(path)
    if path.exists() and not zipfile.is_zipfile(path):
        raise InputError(f"{path}: is there already, and is no zip")
    gold = config.answers()
    contents = {**_contents(config), **_gold_files(gold)}
    with durable_files.replacing(path) as draft, zipfile.ZipFile(draft, "w") as archive:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = (0o100755 if name in _SCRIPTS else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def _contents(config: AutograderConfig) -> dict[str, bytes]:
    settings = {
        "holes": config.holes,
        "seconds": config.seconds,
        "memory": config.memory,
        "visibility": config.visibility,
    }
    return {
        **{name: (_FOLDER / name).read_bytes() for name in _SCRIPTS},
        "requirements.txt": _REQUIREMENTS.read_bytes(),
        SETTINGS: json.dumps(settings, indent=1).encode(),
        **dict(_package(config.steps)),
        **dict(_hidden(config.steps, config.drawn_seed())),
    }


def _package(steps: Iterable[Step]) -> Iterator[tuple[str, bytes]]:
    """The package as the starter has it, with what marks submissions beside."""
    for path, content in starters_files([*MODULES, _MARKING, ENTRY], steps):
        yield path.as_posix(), content
    for name in _TABLES:
        yield name, (PACKAGE.parent / name).read_bytes()


def _hidden(steps: Iterable[Step], seed: int) -> Iterator[tuple[str, bytes]]:
    """The inputs that students have not seen, and what our solution makes of them."""
    with tempfile.TemporaryDirectory() as folder:
        for step in steps:
            path = Path(folder) / f"{step.name}.safetensors"
            records.save(path, recorded(step, seed))
            yield f"{HIDDEN}/{path.name}", path.read_bytes()


def _gold_files(gold: Gold) -> dict[str, bytes]:
    paths = (file_of(gold.folder, part) for part in gold.ids)
    return {f"{GOLD}/{path.name}": path.read_bytes() for path in paths if path is not None}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""

    def work(_stop: object) -> None:
        given = vars(make_parser().parse_args(argv))
        path = given.pop("zip")
        config = AutograderConfig(**given)
        make_autograder(config, path)
        points = sum(step.points for step in config.steps)
        show(f"{path}: {len(config.steps)} steps, {points} points; upload it as an autograder")

    return run_command(work, if_stopped="nothing was written")

"""The command `python -m minbert.export`: a finished run as a folder that another library loads."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from minbert.export import published
from minbert.export.card import card
from minbert.export.config import ExportConfig
from minbert.export.forms import SENTENCES, TRANSFORMERS, exportable
from minbert.finetune.trained import TrainedRun, read_run
from minbert.support import durable_files
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.flags import OneLineParser, add_flags
from minbert.support.outputs import refusing_unwritable
from minbert.support.signals import StopRequest

_DESCRIPTION = f"""\
Write a finished run as a folder that another library loads. RUN is its folder.

  python -m minbert.export RUN FOLDER --to {TRANSFORMERS}
  python -m minbert.export RUN FOLDER --to {SENTENCES}
"""
_TEXT, _PAIR = '"a fine film"', '{"text": "a man sings", "text_pair": "a woman sings"}'
_USES = {
    TRANSFORMERS: """\
from transformers import pipeline

ask = pipeline("text-classification", model="FOLDER")
ask(TEXT)
""",
    SENTENCES: """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
vectors = model.encode(["a man sings", "a woman sings"])
model.similarity(vectors, vectors)
""",
}


def make_parser() -> OneLineParser:
    """Return the parser: the run, the new folder, and one flag for each field of ExportConfig."""
    parser = OneLineParser(
        prog="python -m minbert.export",
        usage="%(prog)s RUN FOLDER --to LIBRARY [flags]",
        description=_DESCRIPTION,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the run's folder")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the folder to be made")
    add_flags(parser, ExportConfig)
    return parser


def export(run: Path, folder: Path, to: str, named: Sequence[str] | None = None) -> list[Path]:
    """Write a run to a new folder for a library; return the folders that the library can load.

    Raises InputError for what is no finished run, for a head that the library cannot hold, and for
    a folder that is there already.
    """
    _check_new(folder)
    trained = read_run(run, "cpu")
    tasks, refused = exportable(trained, named, to)
    for line in refused:
        log.info("not exported: %s", line)
    with durable_files.new_folder(folder) as draft:
        if to == SENTENCES:
            files = published.sentence_encoder(trained)
            _write(trained, to, tasks, draft, folder, files)
            return [folder]
        for task in tasks:
            files = published.classifier(trained, trained.config.task(task))
            _write(trained, to, [task], draft / task, folder / task, files)
    return [folder / task for task in tasks]


def _check_new(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; name a new folder")
    with refusing_unwritable(str(folder)):
        durable_files.check_writable(folder)


def _write(
    run: TrainedRun,
    to: str,
    names: Sequence[str],
    draft: Path,
    folder: Path,
    files: Mapping[str, published.Content],
) -> None:
    """Write files and model card into `draft`, which will be `folder`."""
    tasks = [run.config.task(name) for name in names]
    text = _PAIR if any(task.is_pair for task in tasks) else _TEXT
    use = _USES[to].replace("FOLDER", str(folder)).replace("TEXT", text)
    readme = card(run, to, tasks, use)
    published.write(draft, {**files, "README.md": readme})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""

    def work(_stop: StopRequest) -> None:
        given = vars(make_parser().parse_args(argv))
        run, folder = given.pop("run"), given.pop("folder")
        config = ExportConfig(**given)
        for written in export(run, folder, str(config.to), config.task):
            show(f"{written}/")

    return run_command(work, if_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())

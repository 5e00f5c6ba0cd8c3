"""The command `python -m minbert.predict`: a finished run and texts in, answers out."""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from minbert.finetune.trained import TRAIN_ONE, finished_runs
from minbert.predict.config import PredictConfig
from minbert.predict.predictor import Predictor, load
from minbert.predict.rows import Question, questions
from minbert.predict.shown import Row, Rows, csv_lines, is_ours, json_lines, table
from minbert.support import durable_files
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.errors import InputError
from minbert.support.flags import OneLineParser, parser_for, refuse_idle
from minbert.support.outputs import refusing_unwritable
from minbert.support.signals import StopRequest

_DESCRIPTION = """\
Ask a finished run. RUN is its folder; texts follow.

  python -m minbert.predict RUN "a sentence"
  python -m minbert.predict RUN --task TASK "one" "another"
  python -m minbert.predict RUN --file rows.csv --out answers.jsonl

Two texts are a pair for the tasks that compare texts, where the run has some. --task names others.
"""
_AT_ONCE = 500  # lines that are printed together
_LONGEST_ID = 2**16  # bytes at the beginning of a file, with room for a long id


def make_parser() -> OneLineParser:
    """Return the parser: one flag for each field of PredictConfig, the run and the texts."""
    parser = parser_for(
        PredictConfig,
        prog="python -m minbert.predict",
        usage="%(prog)s RUN [TEXT ...] [flags]",
        description=_DESCRIPTION,
        texts=True,
    )
    parser.add_argument("words", nargs="*", metavar="RUN TEXT", help="the run's folder, then texts")
    return parser


def run(config: PredictConfig, words: Sequence[str]) -> None:
    """Load the run, ask it, and print or write the answers. Raises InputError or RunError."""
    if not words:
        raise InputError(f"no run is named: {_some_run()}")
    folder, *texts = words
    if config.out is not None:
        _check_out(Path(config.out), config.file, Path(folder))
    predictor = load(folder, config.device)
    with questions(config, predictor, texts) as asked:
        _give(config, _rows(predictor, asked))


def _some_run() -> str:
    """What to do without a run."""
    if found := finished_runs(Path("runs")):
        return f'try python -m minbert.predict {found[0]} "a sentence"'
    return f"train one with: {TRAIN_ONE}"


def _rows(predictor: Predictor, asked: Sequence[Question]) -> Rows:
    """Every answer: row by row, and of each row task by task."""
    for question in asked:
        rows = question.rows
        of_tasks = zip(*predictor.answers(question.tasks, rows), strict=True)
        for number, (example, found) in enumerate(zip(rows.examples, of_tasks, strict=True)):
            for answer in found:
                yield Row(example.id, answer, rows.amiss.get(number))


def _give(config: PredictConfig, rows: Rows) -> None:
    if config.out is not None:
        _write(Path(config.out), rows)
    elif sys.stdout.isatty():
        show(table(rows))
    else:
        _print(json_lines(rows))


def _write(path: Path, rows: Rows) -> None:
    lines = csv_lines(rows) if path.suffix.lower() == ".csv" else json_lines(rows)
    with durable_files.replacing(path) as draft, draft.open("w", encoding="utf-8") as stream:
        stream.writelines(lines)
    log.info("answers: %s", path)


def _print(lines: Iterator[str]) -> None:
    while chunk := "".join(islice(lines, _AT_ONCE)):
        show(chunk, end="")


def _check_out(out: Path, source: str | None, folder: Path) -> None:
    """Raise InputError now, not after the work, where the answers cannot or must not go there."""
    place = out.resolve()
    if source is not None and place == Path(source).resolve():
        raise InputError(f"--out {out}: the rows are read from this file")
    if folder.resolve() in (place, *place.parents):
        raise InputError(f"--out {out}: lies in the run's own folder")
    with refusing_unwritable(f"--out {out}"):
        durable_files.check_writable(out)
        if out.exists() and not (out.is_file() and _are_answers(out)):
            raise InputError(f"--out {out}: holds something else than answers; name another file")


def _are_answers(path: Path) -> bool:
    """Whether a file is empty or begins as the answers of this command do."""
    with path.open("rb") as stream:
        begins = stream.readline(_LONGEST_ID)
    return begins == b"" or is_ours(begins)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""

    def work(_stop: StopRequest) -> None:
        given = vars(make_parser().parse_args(argv))
        words = given.pop("words", [])
        config = PredictConfig(**given)
        refuse_idle(config, given)
        run(config, words)

    return run_command(work, if_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())

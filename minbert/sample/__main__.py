"""The command `python -m minbert.sample`: write the synthetic sample of the four data sets.

Everything is drawn from the word lists and productions of this package; nothing comes from a real
data set. Scores on it say nothing about the real tasks.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minbert.sample.lexicon import held_out, lists
from minbert.sample.measure import facts, vocabulary
from minbert.sample.tables import TASKS, examples, lines, spelled
from minbert.support.command import show
from minbert.support.durable_files import write_texts


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sample's files and list them, or measure them. Exits 2 with a line if misused."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.check:
        check(args.seed)
        return 0
    tables = {
        args.out / f"{task.stem}-{split}.csv": lines(task, split, rows, args.seed)
        for task in TASKS
        for split, rows in examples(task, args.seed)
    }
    try:
        write_texts({path: spelled(table) for path, table in tables.items()})
    except OSError as error:
        parser.error(f"--out {args.out}: {error.strerror}")
    for path, table in tables.items():
        show(f"{path.name}: {len(table) - 1} rows")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m minbert.sample", allow_abbrev=False)
    parser.description = "Write a synthetic sample of the data sets, in their format."
    parser.usage = argparse.SUPPRESS  # so that a complaint is one line
    out, seed = "folder to write to (default: %(default)s)", "whole number (default: %(default)s)"
    check = "write nothing; print sizes, ceilings and what words alone score"
    parser.add_argument("--out", type=Path, default=Path("data/sample"), help=out)
    parser.add_argument("--seed", type=int, default=11711, help=seed)
    parser.add_argument("--check", action="store_true", help=check)
    return parser


def check(seed: int) -> None:
    """Print the figures that the README of the sample gives."""
    all_words: set[str] = set()
    for task in TASKS:
        splits = dict(examples(task, seed))
        all_words |= vocabulary(row for rows in splits.values() for row in rows)
        show(task.stem)
        for name, value in facts(task, splits):
            show(f"  {name}: {value:.3f}" if isinstance(value, float) else f"  {name}: {value}")
    entries = {entry for entries in lists().values() for entry in entries}
    show("all files")
    show(f"  distinct words: {len(all_words)}")
    show(f"  entries of the word lists: {len(entries)}, held out: {sum(map(held_out, entries))}")


if __name__ == "__main__":
    sys.exit(main())

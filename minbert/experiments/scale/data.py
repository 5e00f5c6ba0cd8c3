"""The seconds and the peak memory that it takes to read and encode a file of many pairs.

A process's peak never falls, so each size is measured in a process of its own.
"""

import contextlib
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from random import Random

from minbert.data.reading import read_split
from minbert.encoder.config import EncoderConfig
from minbert.finetune.build_data import build_tokenizer, encoded
from minbert.finetune.config import RunConfig
from minbert.support.errors import RunError
from minbert.support.randomness import derive_seed
from minbert.tasks.registry import TASKS

TASK = "para"
_UNIT = 1 if sys.platform == "darwin" else 1024  # of the peak that the system tells, in bytes


def measured(source: Path, weights: str, rows: int) -> tuple[float, int]:
    """Read and encode `rows` pairs made of those in `source`. Raises InputError, RunError.

    Returns the seconds, and the bytes at the peak beyond what the process held before.
    """
    encoder = str(Path(weights).resolve())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.csv"
        _write(path, source, rows)
        done = subprocess.run(
            [sys.executable, "-m", "minbert.experiments.scale.data", str(path), encoder],
            cwd=Path(__file__).parents[3],  # wherever this process is by now
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no word"]
        raise RunError(f"reading {rows} pairs ended with exit code {done.returncode}: {words[-1]}")
    seconds, memory = json.loads(done.stdout)
    return seconds, memory


def _write(path: Path, source: Path, rows: int) -> None:
    """Write `rows` pairs: the examples of `source`, then again and again, their words shuffled."""
    task = TASKS[TASK]
    examples = read_split(task, "train", source).examples
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(["", "id", *task.text_columns, task.label_column])
        for number, example in zip(range(rows), cycle(examples), strict=False):
            draw = Random(derive_seed(0, "order of words", number))  # noqa: S311
            texts: Sequence[str] = example.texts
            if number >= len(examples):
                texts = [" ".join(draw.sample(w, len(w))) for w in map(str.split, example.texts)]
            writer.writerow([number, f"{number:025x}", *texts, number % 2])


def peak() -> int:
    """The highest resident size of this process so far, in bytes.

    On Linux the kernel's own count is read, since that of `getrusage` begins at the parent's peak.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def main(path: str, weights: str) -> None:
    """Measure in this process, and print the result as JSON."""
    job = RunConfig(option="finetune", tasks=(TASK,), weights=weights)
    tokenizer = build_tokenizer(job, EncoderConfig.from_file(Path(weights) / "config.json"))
    before, began = peak(), time.perf_counter()
    encoded(job, read_split(TASKS[TASK], "train", Path(path)), tokenizer)
    print(json.dumps([time.perf_counter() - began, peak() - before]))


if __name__ == "__main__":
    main(*sys.argv[1:])

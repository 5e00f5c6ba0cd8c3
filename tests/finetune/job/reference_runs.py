"""Shows that a change to the code left every result as it was, byte for byte.

    python tests/finetune/job/reference_runs.py record BEFORE [--code CHECKOUT]
    python tests/finetune/job/reference_runs.py record AFTER
    python tests/finetune/job/reference_runs.py compare BEFORE AFTER

`record` runs the main job on the sample in seven ways, 60 steps each, on one thread, with the code
of this checkout or of another. `compare` holds predictions, dev scores and every line of the log
against each other: all fields but seconds and speeds. It exits with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[3]
RUNS = {
    "plain": "--option finetune --rrobin",
    "smart": "--option finetune --rrobin --smart",
    "r3f": "--option finetune --rrobin --r3f",
    "freelb": "--option finetune --rrobin --freelb",
    "full-rlayer": "--option finetune --rrobin full --rlayer",
    "frozen": "--option pretrain --rrobin",
    "cfimdb": "--option finetune --tasks cfimdb",
}
SHORT = ("--max_steps", "60", "--seed", "11711", "--device", "cpu", "--precision", "fp32")


def record(folder: Path, code: Path) -> None:
    """Run the main job of the checkout `code` in every way, each in a folder of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for name, flags in RUNS.items():
        place = folder.resolve() / name
        place.mkdir(parents=True)
        print(f"{name}: {flags}", flush=True)
        script = str(code.resolve() / "multitask_classifier.py")
        command = [sys.executable, script, *flags.split(), *SHORT, "--output_dir", "run"]
        with (place / "printed.txt").open("w") as printed:
            subprocess.run(command, cwd=place, env=environment, stderr=printed, check=True)


def results(place: Path) -> dict[str, Any]:
    """What a run left, by name: texts of the prediction files, dev scores, lines of the log."""
    manifest = json.loads((place / "run" / "manifest.json").read_text())
    epochs = [_lasting(epoch) for epoch in manifest["epochs"]]
    found = {"dev": manifest["dev"], "best_epoch": manifest["best_epoch"], "epochs": epochs}
    lines = (place / "run" / "log.jsonl").read_text().splitlines()
    found["log"] = [_lasting(json.loads(line)) for line in lines]
    files = sorted((place / "predictions").iterdir())
    return found | {file.name: file.read_text() for file in files}


def _lasting(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.endswith(("seconds", "_per_s"))}


def compare(before: Path, after: Path) -> int:
    """Name what differs; returns how many results do."""
    differing = 0
    for name in RUNS:
        old, new = results(before / name), results(after / name)
        changed = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
        differing += len(changed)
        compared = f"{len(old)} results, {len(old['log'])} lines of the log"
        print(f"{name}: {'differs in ' + ', '.join(sorted(changed)) if changed else compared}")
    print(f"{differing} results differ")
    return differing


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("folder", type=Path)
    recording.add_argument("--code", type=Path, default=HERE, metavar="CHECKOUT")
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "record":
        record(chosen.folder, chosen.code)
        return 0
    return int(compare(chosen.before, chosen.after) > 0)


if __name__ == "__main__":
    sys.exit(main())

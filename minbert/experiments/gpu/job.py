"""The main job as it is typed, on real rows: seconds a step, and what that makes an epoch."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from minbert.experiments.bench.command import save_random
from minbert.experiments.gpu.findings import Facts, Findings
from minbert.experiments.gpu.material import Setting
from minbert.experiments.measuring.spread import Spread
from minbert.finetune import cli
from minbert.support.errors import RunError
from minbert.training.record import read_finished
from minbert.training.run_folder import read_log

_BATCH = 64
_EPOCH = 6633  # steps of --rrobin full at that size on the course's sets: 3 x 2,211 rounds


def measure(setting: Setting, findings: Findings) -> None:
    """Train a little on all three tasks: plain, then with SMART."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        save_random(setting.sizes.shape, place / "encoder")
        for title, more in (("plain", ()), ("SMART", ("--smart",))):
            findings.add(f"--rrobin full, {title}", _trained, setting, place, more, need=8)


def _trained(setting: Setting, place: Path, more: Sequence[str]) -> Facts:
    out, size = place / f"run{len(more)}", 2 if setting.tiny else _BATCH
    steps = setting.sizes.job_steps
    flags = ["--option", "finetune", "--rrobin", "full", "--dev_only", "--lr", "1e-5"]
    flags += ["--weights", str(place / "encoder"), "--data_dir", str(setting.data_dir)]
    flags += ["--batch_size", str(size), "--max_steps", str(steps), "--device", setting.kind]
    flags += ["--epochs", "1", "--limit", str(size * steps), "--output_dir", str(out)]
    if (code := cli.main([*flags, *more])) != 0:
        raise RunError(f"the main job ended with exit code {code}")
    return facts_of(out, _EPOCH if size == _BATCH else None)


def facts_of(out: Path, epoch: int | None = None) -> Facts:
    """What a run's manifest and log say of its speed; `epoch` are the steps of a whole one.

    The log has tokens a second for each stretch; their median leaves the first steps out, which
    are slow.
    """
    manifest = read_finished(out)
    lines = read_log(out)
    steps = lines[-1]["step"] + 1
    rate = Spread.of([line["tokens_per_s"] for line in lines]).median
    seconds = sum(line["tokens"] for line in lines) / steps / rate
    return {
        "precision": manifest["config"]["precision"],
        "steps": steps,
        "ms a step": 1e3 * seconds,
        "tokens a second": rate,
        "seconds an epoch of the course's sets": None if epoch is None else epoch * seconds,
        "seconds of the run": manifest["wall_seconds"],
    }

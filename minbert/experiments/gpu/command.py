"""`python -m minbert.experiments gpu`: all that is worth knowing of a GPU, within minutes.

Each part runs in a process of its own with its own time limit, and what it has found is on disk
after every entry. So a crash or a limit costs one entry, and nothing that was found before.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from minbert.experiments.gpu import process, report
from minbert.experiments.gpu.config import PARTS, GpuConfig
from minbert.experiments.gpu.material import Setting
from minbert.experiments.gpu.process import Ended
from minbert.finetune.config import RunConfig
from minbert.finetune.inputs import locate
from minbert.support.command import run_command, show
from minbert.support.console import log
from minbert.support.device import cores, pick_device, processor
from minbert.support.errors import RunError
from minbert.support.flags import OneLineParser, parser_for
from minbert.support.outputs import refusing_unwritable
from minbert.support.signals import StopRequest

_LEAST = 6.0  # seconds with which a part is still begun
_DESCRIPTION = """\
Measure this package on a GPU: tests, agreement with the CPU, ceilings, training steps beside the
reference library's (transformers, where it is installed), a profile, the main job, pretraining.
Every part has its own time limit, and the report is written as it goes. Without CUDA everything is
tiny, and shows that the command works. docs/performance.md says how to read it. Typical:

  python -m minbert.experiments gpu --data_dir DATA
  python -m minbert.experiments gpu --parts steps compiled --seconds 300
"""


def make_parser() -> OneLineParser:
    """One flag for each field of GpuConfig; the parser stores only the flags that were typed."""
    prog = "python -m minbert.experiments gpu"
    return parser_for(GpuConfig, prog=prog, usage="%(prog)s [flags]", description=_DESCRIPTION)


def main(argv: Sequence[str]) -> int:
    """Run it on the flags in `argv`; returns the exit code."""
    return run_command(
        lambda stop: run(GpuConfig(**vars(make_parser().parse_args(argv))), stop),
        if_stopped="the report has what was found until then",
    )


def run(config: GpuConfig, stop: StopRequest) -> dict[str, Ended]:
    """Measure, write the report about once a second, print it; return how each part ended.

    Parts that an earlier call has left in the same folder stay in the report. Raises InputError or
    Stopped, and RunError at the end where parts failed.
    """
    setting = _setting(config)
    before = [part for part in PARTS if process.found_at(setting.out, part).exists()]
    ended = {part: Ended("done by an earlier call", 0.0) for part in before}
    began, facts = time.monotonic(), _machine()

    def write() -> str:
        return report.write(setting.out, _words(setting), facts, ended)

    def meanwhile() -> None:
        write()
        stop.obey()

    for part in config.parts:
        left = config.seconds - (time.monotonic() - began)
        seconds = min(PARTS[part][0] * config.patience, left)
        if seconds < _LEAST:
            ended[part] = Ended("left out: no time", 0.0)
            continue
        log.info("%s: %s (at most %.0f s)", part, PARTS[part][1], seconds)
        ended[part] = Ended("running", 0.0)
        ended[part] = process.run(part, setting, seconds, meanwhile)
        log.info("%s: %s, %.0f s", part, ended[part].status, ended[part].seconds)
    show(write(), end="")
    log.info(
        "written: %s, report.json; logs in %s", setting.out / "report.md", setting.out / "parts"
    )
    if failed := [part for part, how in ended.items() if how.status.startswith("failed")]:
        raise RunError(f"{', '.join(failed)}: failed; see the logs in {setting.out / 'parts'}")
    return ended


def _setting(config: GpuConfig) -> Setting:
    """Where it runs. Nothing is put on the device here. Raises InputError."""
    kind = pick_device(config.device).type
    if kind != "cuda" and not config.tiny:
        log.info("no CUDA: everything is tiny, and its times mean nothing")
    given = {} if config.data_dir is None else {"data_dir": config.data_dir}
    job = locate(RunConfig(option="finetune", rrobin="full", data_dir=config.data_dir), given)
    folder = Path(job.file("para", "train")).parent
    out = Path(config.out).resolve()
    with refusing_unwritable(f"--out {config.out}"):
        (out / "parts").mkdir(parents=True, exist_ok=True)
    report.check(out, f"--out {config.out}")
    for part in config.parts:
        process.found_at(out, part).unlink(missing_ok=True)
    return Setting(kind, config.tiny or kind != "cuda", folder, out)


def _words(setting: Setting) -> str:
    sizes = "tiny sizes, whose times mean nothing" if setting.tiny else "bert-base's shape"
    return f"{setting.kind}, {sizes}, torch {torch.__version__}, {processor()}."


def _machine() -> dict[str, Any]:
    versions = {"python": sys.version.split()[0], "torch": torch.__version__}
    return {"processor": processor(), "cores": cores(), "versions": versions}

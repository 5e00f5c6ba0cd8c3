"""A configuration over tiny files, and the parts that are built from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minbert.finetune.build import Parts, build
from minbert.finetune.config import RunConfig
from tests.helpers import CPU

TASK_NAMES = ("sst", "para", "sts", "cfimdb")


def make_config(place: Path, **changes: Any) -> RunConfig:
    defaults = RunConfig()
    files = {
        f"{task}_{split}": str(place / "data" / Path(defaults.file(task, split)).name)
        for task in TASK_NAMES
        for split in ("train", "dev", "test")
    }
    given: dict[str, Any] = {
        **files,
        "option": "finetune",
        "rrobin": "equal",
        "weights": str(place / "weights"),
        "batch_size": 4,
        "epochs": 3,
        **changes,
    }
    if "tasks" in changes and len(changes["tasks"]) == 1:
        given["rrobin"] = None
    return RunConfig(**given).resolved()


def make(place: Path, **changes: Any) -> Parts:
    return build(make_config(place, **changes), CPU)

"""What the tests of `RunConfig` go through: its fields, all tasks, the schedules without rounds."""

from __future__ import annotations

import dataclasses

from minbert.finetune.config import RunConfig
from minbert.tasks.mixing import MIXINGS, WITH_ROUNDS
from minbert.tasks.registry import COURSE_TASKS

FIELDS = {entry.name: entry for entry in dataclasses.fields(RunConfig)}
ALL_TASKS = (*COURSE_TASKS, "cfimdb")
BY_SIZE = [name for name in MIXINGS if name not in WITH_ROUNDS]

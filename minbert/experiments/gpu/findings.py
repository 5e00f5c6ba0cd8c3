"""What a part has found: on disk after every entry, so that a time limit loses nothing."""

import gc
import math
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from minbert.support import durable_files
from minbert.support.command import show

Facts = Mapping[str, Any]


class Findings:
    """The entries of one part, in its JSON file."""

    def __init__(self, path: Path, seconds: float) -> None:
        """`seconds` are those that the part may take from now on."""
        self._path, self._until = path, time.monotonic() + seconds
        self._kept: dict[str, Facts] = {}
        self.failed = False  # whether an entry has

    def add(
        self, name: str, find: Callable[..., Facts], *arguments: Any, need: float = 0.0
    ) -> None:
        """Keep the facts that `find` returns of the arguments, or why it failed.

        With less than `need` seconds left it is not begun, and the entry says so.
        """
        left = self._until - time.monotonic()
        if left < need:
            self._keep(name, {"left out": f"{left:.0f} s left, {need:.0f} needed"})
            return
        try:
            self._keep(name, find(*arguments))
        except Exception as error:  # whatever it is, the other entries are still worth having
            self.failed = True
            traceback.print_exc()
            line = next(iter(str(error).splitlines()), "")
            self._keep(name, {"failed": f"{type(error).__name__}: {line[:200]}"})
        if torch.cuda.is_initialized():
            gc.collect()
            torch.cuda.empty_cache()

    def _keep(self, name: str, facts: Facts) -> None:
        self._kept[name] = {key: _written(value) for key, value in facts.items()}
        durable_files.write_json(self._path, self._kept)
        show(f"{name}: {facts}")


def _written(value: Any) -> Any:
    """A value as JSON can have it: a number that is none is a finding too."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

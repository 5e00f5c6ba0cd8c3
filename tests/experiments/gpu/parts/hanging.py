"""A part that never ends, and has a process of its own that does not either."""

from __future__ import annotations

import subprocess

from minbert.experiments.gpu.findings import Findings
from minbert.experiments.gpu.material import Setting


def measure(setting: Setting, findings: Findings) -> None:
    findings.add("first", dict, {"value": 1})
    child = subprocess.Popen(["sleep", "600"])
    (setting.out / "pid").write_text(str(child.pid))
    child.wait()

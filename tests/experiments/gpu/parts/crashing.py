"""A part whose process dies."""

from __future__ import annotations

import os

from minbert.experiments.gpu.findings import Findings
from minbert.experiments.gpu.material import Setting


def measure(_setting: Setting, findings: Findings) -> None:
    findings.add("first", dict, {"value": 1})
    os._exit(7)

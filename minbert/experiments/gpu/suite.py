"""The tests that need a GPU, where they lie beside the package."""

from collections import Counter
from importlib import import_module
from typing import Any

from minbert.experiments.gpu.findings import Facts, Findings
from minbert.experiments.gpu.material import Setting
from minbert.support.places import SAMPLE

_TESTS = SAMPLE.parents[1] / "tests"
_KEPT = 5  # names of tests that failed


class Outcomes:
    """A plugin of pytest's that counts how tests ended."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Count a test by its call, or by its set-up where that failed or skipped it."""
        if report.when == "call" or report.outcome != "passed":
            self.counts[report.outcome] += 1
            self.failed += [report.nodeid] if report.outcome == "failed" else []


def measure(setting: Setting, findings: Findings) -> None:
    """Run the tests that are marked for a GPU."""
    if _TESTS.is_dir():
        findings.add("pytest -m gpu", lambda: _facts(setting))
    else:
        findings.add("pytest -m gpu", lambda: {"left out": "no tests lie beside the package"})


def _facts(setting: Setting) -> Facts:
    seen = Outcomes()
    files = [str(_TESTS / "test_gpu.py"), *([] if setting.tiny else [str(_TESTS / "encoder")])]
    how = ["-o", "addopts=", "-m", "gpu", "-q", "-rA", "-p", "no:cacheprovider"]  # no plugins
    code = import_module("pytest").main([*files, *how, "--rootdir", str(_TESTS.parent)], [seen])
    counts = {name: seen.counts[name] for name in ("passed", "failed", "skipped")}
    return {**counts, "exit code": int(code), "failing": ", ".join(seen.failed[:_KEPT]) or None}

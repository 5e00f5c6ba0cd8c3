"""Where a step's time goes: its largest kernels, the gaps between them, and the whole trace."""

import gzip
import shutil
from pathlib import Path

from minbert.experiments.gpu.findings import Facts, Findings
from minbert.experiments.gpu.material import Setting, named
from minbert.experiments.measuring.profiling import Kernels, kernels_of

_LARGEST = 12
_NAME = 100  # letters of a kernel's name


def measure(setting: Setting, findings: Findings) -> None:
    """Profile a plain and a SMART step on the smallest batch, and a plain one on the largest."""
    batches = setting.sizes.batches
    cases = dict.fromkeys([("plain", batches[0]), ("SMART", batches[0]), ("plain", batches[-1])])
    for method, batch in cases:
        kept: list[Kernels] = []
        name = f"{method}, {setting.precision}, {named(*batch)}"
        findings.add(name, _profiled, setting, method, batch, kept, need=5)
        for kernels in kept:
            for largest, facts in _largest(kernels).items():
                findings.add(f"{method}, {named(*batch)}: {largest}", dict, facts)


def _profiled(setting: Setting, method: str, size: tuple[int, int], kept: list[Kernels]) -> Facts:
    """The kernels of a step, in numbers; `kept` gets them all."""
    trial = setting.trial(method, setting.encoder(), setting.batch(*size), setting.precision)
    trial.step()
    path = setting.out / f"trace-{method}-{size[0]}x{size[1]}.json"
    kept.append(found := kernels_of(trial.step, setting.device, path))
    _compress(path)
    return {
        "kernels": found.count,
        "from first to last, ms": found.span * 1e3,
        "they run, ms": found.busy * 1e3,
        "gaps, ms": found.gaps * 1e3,
        "trace": f"{path.name}.gz",
    }


def _compress(path: Path) -> None:
    with path.open("rb") as source, gzip.open(f"{path}.gz", "wb") as target:
        shutil.copyfileobj(source, target)
    path.unlink()


def _largest(kernels: Kernels) -> dict[str, Facts]:
    """The kernels that take longest, the longest first."""
    ranked = sorted(kernels.by_name.items(), key=lambda entry: -entry[1][1])
    return {
        name[:_NAME]: {"times": count, "us": seconds * 1e6}
        for name, (count, seconds) in ranked[:_LARGEST]
    }

"""Training steps beside the library's compiled ones, which stand last: compiling takes long."""

from minbert.experiments.gpu import library
from minbert.experiments.gpu.findings import Facts, Findings
from minbert.experiments.gpu.material import Setting, named
from minbert.experiments.gpu.steps import OURS, in_rounds, milliseconds, ratios

_SECONDS = 25.0  # that compiling may take


def measure(setting: Setting, findings: Findings) -> None:
    """Plain steps on every batch, then SMART's on the smallest."""
    batches = setting.sizes.batches
    for method, batch in [*(("plain", size) for size in batches), ("SMART", batches[0])]:
        name = f"{method}, {setting.precision}, {named(*batch)}"
        need = 0.0 if setting.tiny else _SECONDS
        findings.add(name, _times, setting, method, batch, need=need)


def _times(setting: Setting, method: str, size: tuple[int, int]) -> Facts:
    if setting.kind != "cuda":
        return {"left out": "compiled for a GPU only"}
    if not library.is_there():
        return {"left out": "transformers is not installed"}
    batch = setting.batch(*size)
    trial = setting.trial(method, setting.encoder(), batch, setting.precision)
    others = library.prepared(setting, method, batch, setting.precision, library.COMPILED)
    taken = in_rounds(setting, {OURS: trial.step, **others})
    return {**milliseconds(taken[OURS]), **ratios(taken, library.COMPILED)}

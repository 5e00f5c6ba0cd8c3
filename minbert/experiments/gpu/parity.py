"""The CPU's numbers and the device's: losses of the first steps, gradients, replays, waits."""

import dataclasses
import warnings
from collections import Counter

import torch
from torch import Tensor

from minbert.experiments.gpu.findings import Facts, Findings
from minbert.experiments.gpu.material import METHODS, Setting, job_of
from minbert.experiments.measuring.trial import Trial
from minbert.training.loop import scale_gradients

_CLOSE = 1e-3  # how far losses in fp32 may lie apart
_CPU = torch.device("cpu")
_RATE = 1e-4
# FreeLB begins where it was sent: the devices draw differently
_STILL = {"FreeLB": {"freelb": True, "freelb_init": 0.0}}


def measure(setting: Setting, findings: Findings) -> None:
    """Losses and gradients of every method, then replays, repeats and waits."""
    for method in METHODS:
        findings.add(f"the first losses, {method}", losses, setting, method, need=5)
    for method in METHODS:
        findings.add(f"gradients, {method}", gradients, setting, method, need=3)
    for precision in ("fp32", "bf16"):
        findings.add(f"replays, {precision}", replays, setting, precision, need=3)
    if setting.device.type == "cuda":
        for method in METHODS:
            findings.add(f"waits in a step, {method}", waits, setting, method, need=3)


def still(setting: Setting, method: str, device: torch.device, precision: str) -> Trial:
    """A method without dropout, so that the two devices draw nothing that matters."""
    size, length = setting.sizes.batches[0]
    shape = setting.sizes.compared_shape.with_dropout(0.0)
    flags = {**METHODS[method], **_STILL.get(method, {}), "hidden_dropout_prob": 0.0}
    job = job_of(flags, precision)
    return Trial.prepare(job, setting.encoder(shape), setting.batch(size, length, device))


def guarded_step(trial: Trial, seed: int, clip: float | None = None) -> Tensor:
    """A step as the training loop makes it, with norm and guard; its loss, on the device."""
    values = trial.objective.backward(trial.model, trial.batch, seed, 1)
    gradients = [p.grad for p in trial.model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    trial.optimizer.found_inf = scale_gradients(gradients, norm, values["loss"], clip)
    trial.optimizer.step()
    trial.optimizer.zero_grad()
    trial.objective.after_step(trial.model)
    return values["loss"]


def losses(setting: Setting, method: str) -> Facts:
    """How far the losses of the first steps lie from the CPU's in fp32."""
    ours, lowered, expected = (
        _losses(setting, method, device, precision)
        for device, precision in (
            (setting.device, "fp32"),
            (setting.device, "bf16"),
            (_CPU, "fp32"),
        )
    )
    off = [(found - expected).abs().max().item() for found in (ours, lowered)]
    return {"fp32 off by": off[0], "agrees": off[0] <= _CLOSE, "bf16 off by": off[1]}


def _losses(setting: Setting, method: str, device: torch.device, precision: str) -> Tensor:
    trial = still(setting, method, device, precision)
    for group in trial.optimizer.param_groups:
        group["lr"] = _RATE
    steps = range(setting.sizes.compared)
    return torch.stack([guarded_step(trial, seed, clip=1.0) for seed in steps]).float().cpu()


def gradients(setting: Setting, method: str) -> Facts:
    """How far the gradient lies from the CPU's in fp32: the norm of what differs over its norm."""
    expected = _gradient(setting, method, _CPU, "fp32")
    facts = {}
    for precision in ("fp32", "bf16"):
        found = _gradient(setting, method, setting.device, precision)
        facts[f"{precision} off by"] = ((found - expected).norm() / expected.norm()).item()
    return facts


def _gradient(setting: Setting, method: str, device: torch.device, precision: str) -> Tensor:
    trial = still(setting, method, device, precision)
    trial.objective.backward(trial.model, trial.batch, 1, 1)
    found = [p.grad for p in trial.model.parameters() if p.grad is not None]
    return torch.cat([gradient.detach().double().flatten().cpu() for gradient in found])


def replays(setting: Setting, precision: str) -> Facts:
    """Whether a seed replays its masks, and another one does not."""
    size, length = setting.sizes.batches[0]
    trial = setting.trial("plain", setting.encoder(), setting.batch(size, length), precision)
    first, again, other = (
        trial.model(trial.batch, mask_seed=seed, exact=False) for seed in (5, 5, 6)
    )
    return {"same": torch.equal(first, again), "others differ": not torch.equal(first, other)}


def waits(setting: Setting, method: str) -> Facts:
    """How often the host waits for the device in a step, and where; with the batch's way there."""
    size, length = setting.sizes.batches[0]
    trial = setting.trial(method, setting.encoder(), setting.batch(size, length), setting.precision)
    guarded_step(trial, 0)
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            guarded_step(dataclasses.replace(trial, batch=setting.batch(size, length)), 1, clip=1.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    said = [one for one in caught if "called a synchronizing" in str(one.message)]
    places = Counter(f"{one.filename.rsplit('/', 1)[-1]}:{one.lineno}" for one in said)
    return {"waits": len(said), "where": ", ".join(places) or None}

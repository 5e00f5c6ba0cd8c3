"""The process of one step, which the grid's `launch` starts: train, encode, or probe."""

import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minbert.encoder import weights
from minbert.experiments.grid import cell as grid_cell
from minbert.experiments.grid.cells import DEV, RESULT, configuration
from minbert.experiments.probe import features, link
from minbert.experiments.probe.probes import Rows, probe
from minbert.experiments.probe.steps import ENCODER, FEATURES, LINK, RANDOM, SECONDS, Step
from minbert.finetune.config import ResolvedConfig
from minbert.support import durable_files
from minbert.support.claims import Claim, ClaimLost, created
from minbert.support.errors import RunError
from minbert.support.signals import StopRequest

Arrays = dict[str, NDArray[Any]]


def run_step(step: Step, out: Path, parent: int, stop: StopRequest) -> bool:
    """Bring the step to its result; return False where another process is at it."""
    return grid_cell.brought_to_result(step, out, parent, stop, _work)


def _work(step: Step, folder: Path, claim: Claim, stop: StopRequest) -> None:
    if step.own_key() != step.key:
        raise RunError("code, data or weights changed since the grid was planned: start it again")
    if step.kind == LINK:
        link.train(step, folder, claim, stop)
        return
    began, out = time.monotonic(), folder.parents[1]
    config = configuration(step.command)
    make = _features if step.kind == FEATURES else _probes
    with stop.immediate():  # a stopped step begins anew: it takes a minute
        record, arrays = make(step, config, out)
    with stop.deferred():
        _publish(step, folder, claim, record, arrays, time.monotonic() - began)


def _features(
    step: Step, config: ResolvedConfig, out: Path
) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    reference = read_arrays(out / "cells" / step.reference) if step.reference else None
    place = None if step.row == RANDOM else Path(str(config.weights))
    if step.parent:
        place = step.parent_folder(out) / ENCODER
    before = _hash(place)
    found = features.compute(config, place, step.seed, step.drift_texts, reference)
    if _hash(place) != before:
        raise RunError(f"{place}: the encoder was changed while its features were computed")
    return {"encoder": before, "drift": found.drift}, found.arrays


def _hash(encoder: Path | None) -> Mapping[str, str]:
    """SHA-256 of the files of an encoder."""
    if encoder is None:
        return {}
    if not encoder.is_dir():
        raise RunError(f"{encoder}: the encoder is gone; the same command trains it again")
    files = weights.input_files(encoder)
    return {name: durable_files.sha256_of(path) for name, path in files.items()}


def _probes(
    step: Step, config: ResolvedConfig, out: Path
) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    arrays = read_arrays(step.parent_folder(out))
    records: dict[str, Any] = {}
    kept: dict[str, NDArray[Any]] = {}
    for name in config.trained_tasks:
        train, dev = (Rows.of(arrays, name, split, step.input) for split in ("train", "dev"))
        found = probe(config.task(name), train, dev, step.solver, step.updates)
        records[name] = found.record
        kept |= {f"{name}_predictions": found.predictions, f"{name}_labels": found.labels}
    return {"probes": records}, kept


def read_arrays(folder: Path) -> Arrays:
    """The arrays that a step has published. Raises RunError where they are damaged."""
    recorded = json.loads((folder / RESULT).read_text(encoding="utf-8"))["sha256"]
    if durable_files.sha256_of(folder / DEV) != recorded:
        raise RunError(f"{folder / DEV}: damaged; delete {folder}")
    with np.load(folder / DEV, allow_pickle=False) as arrays:
        return dict(arrays)


def _publish(
    step: Step,
    folder: Path,
    claim: Claim,
    record: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    seconds: float,
) -> None:
    """Write the arrays, then the result, which makes the step done. Raises ClaimLost."""
    claim.check()
    durable_files.write_text(folder / SECONDS, f"{seconds}\n")
    with durable_files.replacing(folder / DEV) as draft:
        with draft.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        digest = durable_files.sha256_of(draft)
        claim.check()
        if grid_cell.is_published(folder):
            raise ClaimLost(f"{folder / RESULT}: another process has made it")
    claim.check()
    whole = {"cell": dataclasses.asdict(step), "sha256": digest, **record}
    created(folder / RESULT, json.dumps(whole, indent=1, allow_nan=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; return the exit code, `TAKEN` where another process is at it."""
    return grid_cell.process(Step.read, run_step, argv)


if __name__ == "__main__":
    sys.exit(main())

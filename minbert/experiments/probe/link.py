"""A link of a chain: the main job on one task, from the encoder that the link before has left."""

import dataclasses
import json
import shutil
from pathlib import Path

from minbert.experiments.grid.cell import is_published
from minbert.experiments.grid.cells import RESULT, RUN, configuration
from minbert.experiments.probe.steps import ENCODER, SECONDS, Step
from minbert.finetune import job
from minbert.finetune.config import RunConfig
from minbert.finetune.trained import read_run
from minbert.support import durable_files, untrusted
from minbert.support.claims import Claim, ClaimLost, created
from minbert.support.errors import RunError
from minbert.support.signals import StopRequest

WEIGHTS = "model.safetensors"
EARLIER = "earlier.json"  # the result of a link whose encoder was removed and is wanted again


def train(step: Step, folder: Path, claim: Claim, stop: StopRequest) -> None:
    """Train the link and publish its encoder, then the result. Raises ClaimLost, RunError."""
    result = job.run(_config(step, folder), stop)
    with stop.deferred():
        claim.check()
        _keep_encoder(result.folder, folder / ENCODER)
        found = hash_of(folder / ENCODER)
        _compare(folder, found)
        record = {"cell": dataclasses.asdict(step), "encoder": found}
        durable_files.write_text(folder / SECONDS, f"{result.manifest['wall_seconds']}\n")
        claim.check()
        if is_published(folder):
            raise ClaimLost(f"{folder / RESULT}: another process has made it")
        text = json.dumps({**record, "manifest": result.manifest}, indent=1, allow_nan=False)
        created(folder / RESULT, text)


def _config(step: Step, folder: Path) -> RunConfig:
    config = configuration(step.command)
    weights = config.weights
    if step.parent:
        weights = str(step.parent_folder(folder.parents[1]) / ENCODER)
    return dataclasses.replace(config, output_dir=str(folder / RUN), resume=True, weights=weights)


def _keep_encoder(run: Path, place: Path) -> None:
    """Write the best epoch's encoder in the published layout, without the task's head."""
    trained = read_run(run, "cpu")
    encoder = trained.model.encoder
    encoder.vocab_files = {
        name: path.read_bytes()
        for name, path in trained.encoder_files.items()
        if name != "config.json"
    }
    if place.exists():  # of a process that was killed before the result
        shutil.rmtree(place)
    with durable_files.new_folder(place) as draft:
        encoder.save_pretrained(draft)


def hash_of(encoder: Path) -> str:
    """SHA-256 of the weights in an encoder's folder."""
    return durable_files.sha256_of(encoder / WEIGHTS)


def _compare(folder: Path, found: str) -> None:
    """Raise RunError where an earlier training of the link came to other weights."""
    if (folder / EARLIER).exists():
        before = untrusted.read_object(folder / EARLIER)["encoder"]
        if before != found:
            raise RunError(
                f"{folder}: trained again, the link came to other weights than at first, by which "
                "later links were trained; begin anew with another --out"
            )

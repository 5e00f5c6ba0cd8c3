"""What a run is, in JSON: the settings and files that decide its result, and how it went."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from minbert.encoder import weights
from minbert.finetune.config import RunConfig
from minbert.regularizers.registry import METHODS
from minbert.support import durable_files
from minbert.tasks.mixing import EQUAL
from minbert.tasks.registry import TASKS
from minbert.training.record import as_json

# flags that change where or how a run happens, not what comes out
INDIFFERENT = ("output_dir", "resume", "checkpoint_every", "strict", "use_gpu", "device")
OUTPUTS = (
    "predictions_dir",
    *(f"{task.name}_{s}_out" for task in TASKS.values() for s in task.scored_splits),
)
# flags that came later: a run without them keeps the name that it had before
_LATER = (
    "ranks",
    "head_lr",
    "micro_batch_size",
    "epoch_rows",
    "rlayer_dropout",
    "rlayer_activation",
    "bregman_dropout",
    *(f"{task.name}_scale" for task in TASKS.values() if task.top is not None),
)
DATA_PLACES = ("data_dir", *(f"{t.name}_{s}" for t in TASKS.values() for s in t.files))
_PLACES = ("weights", *DATA_PLACES)


def settings(config: RunConfig) -> dict[str, Any]:
    """The settings that, with the contents of its input files, decide a run's result."""
    every, fields = dataclasses.asdict(config), RunConfig.__dataclass_fields__
    unset = [name for name in _LATER if every[name] == fields[name].default]
    left_out = (*INDIFFERENT, *_PLACES, *OUTPUTS, *unset, "task_file")
    kept = {name: value for name, value in every.items() if name not in left_out}
    own = {f"{n}.{k}": v for n, task in config.own_tasks.items() for k, v in task.decisive.items()}
    return as_json(kept | own)


def run_name(config: RunConfig) -> str:
    """A readable name for the configuration, with a hash that tells any two apart."""
    places = {name: getattr(config, name) for name in _PLACES}
    places |= {name: own.files for name, own in config.own_tasks.items()}
    decisive = {**settings(config), **places}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    robin = {None: "", EQUAL: "rrobin"}.get(config.rrobin, f"rrobin-{config.rrobin}")
    words = [config.option, robin, "+".join(config.trained_tasks)]
    regularizers = (name for method in METHODS for name in method.switches)
    words += [
        name
        for name in (*regularizers, "stdpp", "rlayer", "cross_encoder")
        if getattr(config, name)
    ]
    words += [f"seed{config.seed}", digest[:8]]
    return "-".join(word for word in words if word)


def input_files(config: RunConfig) -> dict[str, Path]:
    """Every data and weights file that the run reads."""
    paths = {f"{task}_{split}": Path(config.file(task, split)) for task, split in config.read_keys}
    paths |= weights.input_files(Path(str(config.weights)))
    return {key: path for key, path in paths.items() if path.is_file()}


def input_hashes(config: RunConfig) -> dict[str, str]:
    """SHA-256 of every one of them."""
    return {key: durable_files.sha256_of(path) for key, path in input_files(config).items()}

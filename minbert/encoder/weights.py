"""Published BERT folders: reading them strictly, and writing them back.

A folder holds `config.json`, `vocab.txt` and `model.safetensors` (or the older `pytorch_model.bin`,
which is read and never written). The table below translates the tensors' names to this package's.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from minbert.support import durable_files
from minbert.support.console import log
from minbert.support.errors import InputError

VOCAB_FILES = ("vocab.txt", "tokenizer_config.json")
WRITTEN = ("model.safetensors", *VOCAB_FILES, "config.json")  # config.json makes it a checkpoint

# (published, ours): names without .weight or .bias; {} stands for a layer's number
_NAMES = (
    ("embeddings.LayerNorm", "embedding_norm"),
    ("embeddings.word_embeddings", "word_embeddings"),
    ("embeddings.position_embeddings", "position_embeddings"),
    ("embeddings.token_type_embeddings", "token_type_embeddings"),
    ("encoder.layer.{}.attention.self.query", "layers.{}.attention.query"),
    ("encoder.layer.{}.attention.self.key", "layers.{}.attention.key"),
    ("encoder.layer.{}.attention.self.value", "layers.{}.attention.value"),
    ("encoder.layer.{}.attention.output.dense", "layers.{}.attention.output"),
    ("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.attention_norm"),
    ("encoder.layer.{}.intermediate.dense", "layers.{}.intermediate"),
    ("encoder.layer.{}.output.dense", "layers.{}.output"),
    ("encoder.layer.{}.output.LayerNorm", "layers.{}.output_norm"),
    ("pooler.dense", "pooler"),
)
# the heads of pretraining; decoder.* are copies of the word embeddings and of the bias
_HEADS = (
    ("cls.predictions", "mlm"),
    ("cls.predictions.transform.dense", "mlm.dense"),
    ("cls.predictions.transform.LayerNorm", "mlm.norm"),
    ("cls.seq_relationship", "nsp"),
)
_OURS = dict((*_NAMES, *_HEADS))
_PUBLISHED = {ours: published for published, ours in _OURS.items()}


def _rename(name: str, table: Mapping[str, str]) -> str | None:
    """Translate a tensor's name; None for a name that the table does not know."""
    stem, _, leaf = name.rpartition(".")
    number = re.search(r"\.(\d+)\.", stem)
    pattern = stem if number is None else stem.replace(number.group(), ".{}.", 1)
    if pattern not in table or leaf not in ("weight", "bias"):
        return None
    index = number.group(1) if number else ""
    return f"{table[pattern].format(index)}.{leaf}"


def check_folder(folder: Path) -> None:
    """Raise InputError unless `folder` has the files of a published checkpoint."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of pretrained weights")
    for name in ("config.json", "vocab.txt"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: lacks {name}, which a published BERT folder has")
    weights_file(folder)


def weights_file(folder: Path) -> Path:
    """The file that holds the tensors. Raises InputError where there is none."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder}: lacks model.safetensors (or pytorch_model.bin)")


def read_vocab_files(folder: Path) -> dict[str, bytes]:
    """The bytes of the tokenizer's files, by name. Raises InputError for an unreadable one."""
    try:
        return {n: (folder / n).read_bytes() for n in VOCAB_FILES if (folder / n).is_file()}
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error


def read(
    folder: Path, expected: Mapping[str, torch.Size], heads: Mapping[str, torch.Size] | None = None
) -> dict[str, Tensor]:
    """The tensors of a published folder, in fp32, by this package's names.

    `expected` gives the shapes of tensors that must be there, `heads` of pretraining heads, which
    may be missing; others (`cls.*`) are left out and named in the log. Raises InputError naming
    tensors that are missing, unexpected, mis-shaped or not finite.
    """
    path, heads = weights_file(folder), heads or {}
    tensors, unused, unknown = _translate(path, _read_tensors(path), heads)
    if unused:
        log.info("%s: unused pretraining heads left out: %s", path, ", ".join(unused))
    shapes = {**expected, **heads}
    wrong = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": unknown + [name for name in tensors if name not in shapes],
        "mis-shaped": [
            f"{name} {tuple(tensors[name].shape)}, expected {tuple(shape)}"
            for name, shape in shapes.items()
            if name in tensors and tensors[name].shape != shape
        ],
        "not floating point": [n for n, t in tensors.items() if not t.is_floating_point()],
        "not finite": [n for n, t in tensors.items() if not bool(torch.isfinite(t).all())],
    }
    if complaints := [f"{kind}: {_some(names)}" for kind, names in wrong.items() if names]:
        raise InputError(f"{path}: tensors do not fit config.json; {'; '.join(complaints)}")
    return tensors


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" * (len(names) > most))


def _translate(
    path: Path, raw: Mapping[str, Tensor], wanted: Collection[str]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Tensors by this package's names; pretraining heads not `wanted`; names of neither kind."""
    tensors: dict[str, Tensor] = {}
    unused, unknown = [], []
    for published, tensor in raw.items():
        bare = published.removeprefix("bert.")
        if bare == "embeddings.position_ids":  # 0, 1, 2, ...: a buffer that older writers saved
            continue
        modern = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", bare))
        name = _rename(modern, _OURS)
        if published.startswith("cls.") and name not in wanted:
            unused.append(published)
        elif name is None:
            unknown.append(published)
        elif name in tensors:
            raise InputError(f"{path}: {published} stands there twice, under two spellings")
        else:
            tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    return tensors, unused, unknown


def _read_tensors(path: Path) -> dict[str, Tensor]:
    pickled = path.suffix != ".safetensors"
    # weights_only refuses code in the pickle; torch before 2.10 could be tricked all the same
    if pickled and tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 10):
        raise InputError(f"{path}: needs torch 2.10 or newer to be opened safely")
    try:
        tensors = torch.load(path, "cpu", weights_only=True) if pickled else load_file(path)
    except Exception as error:  # a damaged file can make the readers raise anything
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: damaged or not a weights file ({first_line})") from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"{path}: expected a dictionary of tensors")
    return tensors


def write(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    vocab_files: Mapping[str, bytes],
    *,
    heads: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a published folder; files of the same names are replaced, others stay.

    Nothing is replaced before all files are on disk. With `vocab_files`, vocabulary files that are
    not among them are removed. `heads` are pretraining heads, with which the encoder's names get
    the published prefix `bert.`. `dtype` converts what is stored; None keeps it.
    """
    prefix = "bert." if heads else ""
    published = {f"{prefix}{_published(name)}": t for name, t in tensors.items()}
    published |= {_published(name): t for name, t in (heads or {}).items()}
    stored = {name: t.detach().cpu().to(dtype).contiguous() for name, t in published.items()}
    given = {name: vocab_files[name] for name in VOCAB_FILES if name in vocab_files}
    given["config.json"] = (json.dumps(config, indent=2) + "\n").encode()
    tensors_path = folder / WRITTEN[0]
    for name in WRITTEN:
        durable_files.remove_dead_drafts(folder / name)
    with durable_files.replacing_all([tensors_path, *(folder / name for name in given)]) as drafts:
        durable_files.save_tensors(drafts[tensors_path], stored, {"format": "pt"})
        for name, content in given.items():
            drafts[folder / name].write_bytes(content)
    if vocab_files:
        for name in set(VOCAB_FILES) - set(vocab_files):
            (folder / name).unlink(missing_ok=True)


def _published(name: str) -> str:
    renamed = _rename(name, _PUBLISHED)
    assert renamed is not None, name
    return renamed

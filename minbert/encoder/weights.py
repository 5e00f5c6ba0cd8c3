"""Published folders of BERT and its kin: reading them strictly, and writing them back.

A folder holds `config.json`, the tokenizer's files and `model.safetensors` (or what
`tensor_files.py` reads in its place). The table below translates the tensors' names to this
package's.
"""

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minbert.encoder import tensor_files
from minbert.encoder.config import PREFIXES
from minbert.encoder.tensor_files import Stored
from minbert.support import durable_files, untrusted
from minbert.support.console import log
from minbert.support.errors import InputError

VOCAB_FILES = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "tokenizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
)
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
_PRETRAINING = ("cls.predictions.", "cls.seq_relationship.")  # nearly every folder has them
# 0, 1, 2, ... and 0, 0, 0, ...: buffers that older writers saved
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
LISTS = ("vocab.txt", "tokenizer.json", "vocab.json")  # any of them has the tokens
_FRONT = re.compile(rf"^({'|'.join(map(re.escape, PREFIXES))})")
_NAMED = 5  # names in an error
_LARGEST_LIST = 128 * untrusted.MEGABYTE
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
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: lacks config.json, which a published BERT folder has")
    if not any((folder / name).is_file() for name in LISTS):
        raise InputError(f"{folder}: lacks {' (or '.join(LISTS[:2])}), the tokens' list")
    tensor_files.files_of(folder)


def input_files(folder: Path) -> dict[str, Path]:
    """The files of a folder that decide what its encoder computes; "weights" has the tensors.

    Raises InputError for a folder that `check_folder` refuses.
    """
    check_folder(folder)
    main, *shards = tensor_files.files_of(folder)
    files = {"weights": main, **{f"weights {shard.name}": shard for shard in shards}}
    files |= {name: folder / name for name in ("config.json", *VOCAB_FILES)}
    return {name: path for name, path in files.items() if path.is_file()}


def read_vocab_files(folder: Path) -> dict[str, bytes]:
    """The bytes of the tokenizer's files, by name. Raises InputError for an unreadable one."""
    return {
        name: untrusted.read_bytes(folder / name, _LARGEST_LIST)
        for name in VOCAB_FILES
        if (folder / name).is_file()
    }


def read(
    folder: Path, expected: Mapping[str, torch.Size], heads: Mapping[str, torch.Size] | None = None
) -> dict[str, Tensor]:
    """The tensors of a published folder, in fp32, by this package's names.

    `expected` gives the shapes of tensors that must be there, except for the pooler, which may be
    absent as a whole; `heads` those of pretraining heads, which may be missing. Tensors of anything
    else than the encoder are passed over and, unless they are pretraining heads, named in the log.
    Raises InputError naming tensors of the encoder that are missing, unexpected, mis-shaped, larger
    than the file or not finite.
    """
    with _fitting(folder, expected, heads or {}) as (path, found, passed):
        tensors = {name: tensor.read() for name, tensor in found.items()}
    if passed:
        modules = list(dict.fromkeys(re.sub(r"\..*", ".*", name) for name in sorted(passed)))
        what = "%s: passed over, since they are not the encoder's: %s (%d tensors)"
        log.info(what, path, tensor_files.some(modules), len(passed))
    _refuse(path, {"not finite": [n for n, t in tensors.items() if not torch.isfinite(t).all()]})
    return tensors


def check(folder: Path, expected: Mapping[str, torch.Size]) -> None:
    """Raise InputError where `read` would by the tensors' names and shapes; none is read."""
    with _fitting(folder, expected, {}):
        pass


@contextlib.contextmanager
def _fitting(
    folder: Path, expected: Mapping[str, torch.Size], heads: Mapping[str, torch.Size]
) -> Iterator[tuple[Path, dict[str, Stored], list[str]]]:
    """The main file, the tensors that are wanted, and the names of the others."""
    path, shapes = tensor_files.main_file(folder), {**expected, **heads}
    with tensor_files.opened(folder) as stored:
        found, passed, unknown = _translate(path, stored, shapes)
        needed = [n for n in expected if not n.startswith("pooler.") or _has_pooler(found)]
        missing = [name for name in needed if name not in found]
        _check_prefix(path, missing, stored)
        wrong = {
            "missing": missing,
            "unexpected": unknown,
            "mis-shaped": [
                f"{name} {tuple(tensor.shape)}, expected {tuple(shapes[name])}"
                for name, tensor in found.items()
                if tensor.shape != shapes[name]
            ],
            "not floating point": [n for n, t in found.items() if not t.is_floating_point],
        }
        _refuse(path, wrong)
        room = sum(file.stat().st_size for file in tensor_files.files_of(folder))
        if (claimed := sum(tensor.nbytes for tensor in found.values())) > room:
            raise InputError(f"{path}: its tensors claim {claimed} bytes, more than are in it")
        yield path, found, passed


def _has_pooler(found: Collection[str]) -> bool:
    return any(name.startswith("pooler.") for name in found)


def _refuse(path: Path, wrong: Mapping[str, list[str]]) -> None:
    """Raise InputError that names some of the tensors that are wrong, if any are."""
    there = {kind: names for kind, names in wrong.items() if names}
    if there:
        most = max(1, _NAMED // len(there))
        words = "; ".join(f"{kind}: {tensor_files.some(n, most)}" for kind, n in there.items())
        raise InputError(f"{path}: tensors do not fit config.json; {words}")


def _check_prefix(path: Path, missing: Sequence[str], stored: Collection[str]) -> None:
    """Raise InputError where a missing tensor is there, under a name with more in front."""
    for published in map(_published, missing[:1]):
        ends = [name for name in stored if name.endswith(f".{published}")]
        if len(ends) == 1:
            more = ends[0].removesuffix(published)
            prefix = next((more[: -len(p)] for p in PREFIXES if more.endswith(p)), more)
            raise InputError(
                f"{path}: the names of its tensors begin with {prefix!r}: take that off, as "
                "torch.save(model.module.state_dict(), ...) does for 'module.'"
            )


def _translate(
    path: Path, stored: Mapping[str, Stored], wanted: Collection[str]
) -> tuple[dict[str, Stored], list[str], list[str]]:
    """Tensors by this package's names; names of other things; unknown names in the encoder."""
    found: dict[str, Stored] = {}
    passed, unknown = [], []
    for published, tensor in stored.items():
        bare = _FRONT.sub("", published)
        if bare in _BUFFERS:
            continue
        modern = re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", bare))
        name = _rename(modern, _OURS)
        if name in found:
            raise InputError(f"{path}: {published} stands there twice, under two spellings")
        if name in wanted:
            found[str(name)] = tensor
        elif bare.startswith(("embeddings.", "encoder.", "pooler.")):
            unknown.append(name or published)
        elif not bare.startswith(_PRETRAINING):
            passed.append(published)
    return found, passed, unknown


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
    named = published(tensors, prefix) | published(heads or {})
    stored = {name: t.detach().cpu().to(dtype).contiguous() for name, t in named.items()}
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


def published(tensors: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """An encoder's tensors by their published names, each with `prefix` before it."""
    return {f"{prefix}{_published(name)}": tensor for name, tensor in tensors.items()}


def _published(name: str) -> str:
    renamed = _rename(name, _PUBLISHED)
    assert renamed is not None, name
    return renamed

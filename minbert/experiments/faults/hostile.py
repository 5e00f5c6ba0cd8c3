"""Encoder folders and data files as people have them by accident, or as somebody means harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from minbert.experiments.faults.injection import Damage
from minbert.tasks.registry import COURSE_TASKS, TASKS

_PAGE = "<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
_DEEP = "[" * 100_000
_LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 440473133\n"


def _anything(path: str) -> Iterator[Damage]:
    """What may lie in any file's place."""
    yield Damage(path, "write", {"text": ""})
    yield Damage(path, "write", {"text": _PAGE})
    yield Damage(path, "write", {"text": _LFS})
    yield Damage(path, "random", {"size": 3000, "seed": 1})
    yield Damage(path, "folder")
    yield Damage(path, "pipe")
    yield Damage(path, "loop")
    yield Damage(path, "sparse")


def _config(old: str, new: str) -> Damage:
    return Damage("encoder/config.json", "replace", {"old": old, "new": new})


_WEIGHTS = "encoder/model.safetensors"
ENCODERS: Sequence[Damage] = (
    *(each for name in ("config.json", "vocab.txt") for each in _anything(f"encoder/{name}")),
    *_anything(_WEIGHTS),
    *(Damage(f"encoder/{name}", "remove") for name in ("config.json", "vocab.txt")),
    Damage(_WEIGHTS, "remove"),
    Damage("encoder/config.json", "write", {"text": _DEEP}),
    Damage("encoder/config.json", "write", {"text": "[]"}),
    Damage("encoder/config.json", "write", {"text": '{"hidden_size": ' + "9" * 5000 + "}"}),
    _config('"hidden_size": 16', '"hidden_size": 1e400'),
    _config('"hidden_size": 16', '"hidden_size": -16'),
    _config('"hidden_size": 16', '"hidden_size": "16"'),
    _config('"hidden_size": 16', '"hidden_size": 32'),
    _config('"hidden_size": 16', '"hidden_size": 1000000000'),
    _config('"num_hidden_layers": 1', '"num_hidden_layers": 2'),
    _config('"num_hidden_layers": 1', '"num_hidden_layers": 1000000000'),
    _config('"num_hidden_layers": 1', '"num_hidden_layers": true'),
    _config('"num_attention_heads": 2', '"num_attention_heads": 0'),
    _config('"num_attention_heads": 2', '"num_attention_heads": 3'),
    _config('"intermediate_size": 32', '"intermediate_size": NaN'),
    _config('"model_type": "bert"', '"model_type": "gpt2"'),
    *(Damage(_WEIGHTS, "cut", {"share": share}) for share in (0.01, 0.3, 0.9, 0.999)),
    *(Damage(_WEIGHTS, "zeros", {"place": place}) for place in (0.0, 0.01, 0.02)),
    *(Damage(_WEIGHTS, "flip", {"place": 0.0, "bit": bit}) for bit in (0, 3, 7)),
    Damage("encoder/vocab.txt", "cut", {"share": 0.5}),
    Damage("encoder/vocab.txt", "append", {"text": "one\nword\nmore\n" * 20}),
    Damage("encoder/vocab.txt", "replace", {"old": "[CLS]", "new": "[XLS]"}),
    Damage("encoder/vocab.txt", "replace", {"old": "[PAD]\n", "new": "[PAD]\n\udcff\udcfe\n"}),
)


def data(draw: Random) -> list[Damage]:
    """Damages of all files that the command reads, each of which it must refuse or report."""
    return [
        each
        for task in COURSE_TASKS
        for split, name in TASKS[task].files.items()
        for each in _file(draw, f"data/{name}", TASKS[task].text_columns[0], split)
    ]


def _file(draw: Random, path: str, column: str, split: str) -> Iterator[Damage]:
    yield from _anything(path)
    yield Damage(path, "remove")
    yield Damage(path, "replace", {"old": "\tid\t", "new": "\tnumber\t"})
    yield Damage(path, "replace", {"old": column, "new": "something"})
    yield Damage(path, "append", {"text": f"99\tshort{draw.randrange(10**6)}\n"})
    yield Damage(path, "append", {"text": "99\tnotext\t\t\t\n"})
    yield Damage(path, "append", {"text": "99\tbytes\t\udcff\udcfe\t\udc80\t1\n"})
    if split != "test":
        for label in ("nan", "1e400", "99", "good"):
            texts = "\ta text" * (path.count("quora") + path.count("sts-") + 1)
            yield Damage(path, "append", {"text": f"99\tlabel{texts}\t{label}\n"})

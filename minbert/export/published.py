"""The files of the two layouts: name → bytes or tensors, within one folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minbert.data.tokenizer_files import SETTINGS, TokenizerFiles
from minbert.encoder import weights
from minbert.encoder.config import EncoderConfig
from minbert.finetune.trained import TrainedRun
from minbert.support import durable_files
from minbert.tasks.heads import VectorHead
from minbert.tasks.task import Task

Content = bytes | Mapping[str, Tensor]
_MODULES = "sentence_transformers.models."  # old names, which newer versions know too


def as_json(value: Any) -> bytes:
    """A JSON file's bytes."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def classifier(run: TrainedRun, task: Task) -> dict[str, Content]:
    """A task's `BertForSequenceClassification`, or RoBERTa's: encoder, head, labels, tokenizer.

    One logit s of two classes becomes the logits (0, s), which have the same probabilities, so that
    both classes have a name. A score is one output of the kind "regression", on the labels' scale.
    """
    head = run.model.heads[task.name]
    assert isinstance(head, VectorHead)
    # as the model multiplies by it: R4F's has been divided by its norm
    weight, bias = head.output.weight.detach(), head.output.bias.detach()
    if task.classes and len(weight) == 1:
        weight, bias = (torch.cat([torch.zeros_like(t), t]) for t in (weight, bias))
    elif task.top is not None:
        low, high = task.ends
        unit = (high - low) / task.top
        weight, bias = unit * weight, low + unit * bias
    shape = run.model.encoder.config
    tensors = weights.published(run.model.encoder.state_dict(), shape.family.prefix)
    tensors = _with_head(tensors, shape, weight, bias)
    config = shape.to_published() | {
        "architectures": [shape.family.classifier],
        **_labels(task),
    }
    return {"config.json": as_json(config), "model.safetensors": tensors, **tokenizer(run)}


def _with_head(
    encoder: Mapping[str, Tensor], shape: EncoderConfig, weight: Tensor, bias: Tensor
) -> dict[str, Tensor]:
    """The encoder's tensors and the head's. RoBERTa's head has the encoder's pooler in it."""
    if shape.model_type == "bert":
        return {**encoder, "classifier.weight": weight, "classifier.bias": bias}
    pooler = f"{shape.family.prefix}pooler.dense."
    renamed = {name.replace(pooler, "classifier.dense."): own for name, own in encoder.items()}
    return {**renamed, "classifier.out_proj.weight": weight, "classifier.out_proj.bias": bias}


def _labels(task: Task) -> dict[str, Any]:
    names = task.classes or (task.subject,)
    kind = "single_label_classification" if task.classes else "regression"
    return {
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": kind,
    }


def sentence_encoder(run: TrainedRun) -> dict[str, Content]:
    """The vectors of texts as modules of sentence-transformers: tokens, pooling, for [CLS] tanh.

    The pooler's tanh layer is a dense module, since that library pools the last layer as it is.
    """
    encoder, pooling = run.model.encoder, run.config.pooling
    size = encoder.config.hidden_size
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    taken = {"cls": "cls_token", "mean": "mean_tokens"}[pooling]
    modules = {"": "Transformer", "1_Pooling": "Pooling"}
    files: dict[str, Content] = {
        "config.json": as_json(encoder.config.to_published()),
        "model.safetensors": weights.published(encoder.state_dict()),
        **tokenizer(run),
        "sentence_bert_config.json": as_json(
            {"max_seq_length": run.tokenizer.max_length, "do_lower_case": False}
        ),
        "1_Pooling/config.json": as_json(
            {"word_embedding_dimension": size}
            | {f"pooling_mode_{mode}": mode == taken for mode in modes}
        ),
        "config_sentence_transformers.json": as_json({"similarity_fn_name": "cosine"}),
    }
    if pooling == "cls":
        modules["2_Dense"] = "Dense"
        files |= _dense(encoder.pooler.weight.detach(), encoder.pooler.bias.detach())
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": f"{_MODULES}{kind}"}
        for at, (path, kind) in enumerate(modules.items())
    ]
    return {**files, "modules.json": as_json(listed)}


def _dense(weight: Tensor, bias: Tensor) -> dict[str, Content]:
    outputs, inputs = weight.shape
    tanh = "torch.nn.modules.activation.Tanh"
    config: dict[str, Any] = {"in_features": inputs, "out_features": outputs, "bias": True}
    config |= {"activation_function": tanh}
    return {
        "2_Dense/config.json": as_json(config),
        "2_Dense/model.safetensors": {"linear.weight": weight, "linear.bias": bias},
    }


def tokenizer(run: TrainedRun) -> dict[str, Content]:
    """The tokenizer's files as the run has read them, with the length at which it cut."""
    files = {n: p.read_bytes() for n, p in run.encoder_files.items() if n in weights.VOCAB_FILES}
    described = TokenizerFiles(Path(str(run.config.weights)))
    settings = {
        **described.settings,
        "tokenizer_class": described.tokenizer_class,
        "model_max_length": run.tokenizer.max_length,
    }
    return {**files, SETTINGS: as_json(settings)}


def write(folder: Path, files: Mapping[str, Content]) -> None:
    """Write the files below `folder`, which does not exist yet."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            stored = {key: t.detach().cpu().contiguous() for key, t in content.items()}
            durable_files.save_tensors(path, stored, {"format": "pt"})

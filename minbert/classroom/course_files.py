"""The files that a course's student looks for, which hand on what our modules hold."""

from collections.abc import Mapping

_MAIN = """
if __name__ == "__main__":
    sys.exit(main({arguments}))
"""

# file -> what it is about, our modules with their names there (`ours as theirs`)
_EXPORTS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "bert.py": (
        "The encoder. Its lines are in minbert/encoder/attention.py and minbert/encoder/bert.py.",
        {
            "minbert.encoder.attention": "SelfAttention as BertSelfAttention",
            "minbert.encoder.bert": "BertLayer, BertModel",
        },
    ),
    "config.py": (
        "An encoder's shape. Its lines are in minbert/encoder/config.py.",
        {"minbert.encoder.config": "EncoderConfig as BertConfig"},
    ),
    "tokenizer.py": (
        "Texts to token ids. Its lines are in minbert/data/tokenizer.py.",
        {"minbert.data.tokenizer": "WordPieceTokenizer as BertTokenizer"},
    ),
    "datasets.py": (
        "Files to batches. Its lines are in minbert/data/.",
        {
            "minbert.data.batches": "Batch, Dataset, encode_split",
            "minbert.data.reading": "read_split",
        },
    ),
    "evaluation.py": (
        "Predictions and dev scores. Its lines are in minbert/finetune/evaluate.py.",
        {"minbert.finetune.evaluate": "evaluate, predict, score"},
    ),
    "optimizer.py": (
        "AdamW. Its lines are in minbert/training/optimizer.py.",
        {"minbert.training.optimizer": "AdamW"},
    ),
}
_JOBS: Mapping[str, tuple[str, Mapping[str, str], str]] = {
    "classifier.py": (
        "The sentiment classifier alone: python classifier.py --option finetune.\n\n"
        "Its lines are in minbert/model.py and minbert/tasks/heads.py.",
        {
            "minbert.finetune.cli": "main",
            "minbert.model": "MultitaskBert as BertSentimentClassifier",
            "minbert.tasks.registry": "COURSE_TASKS",
        },
        '["--tasks", COURSE_TASKS[0], *sys.argv[1:]]',
    ),
    "multitask_classifier.py": (
        "The whole job: python multitask_classifier.py --option finetune --rrobin.\n\n"
        "Its lines are in minbert/model.py, minbert/tasks/heads.py and minbert/training/loop.py.",
        {
            "minbert.finetune.cli": "main",
            "minbert.model": "MultitaskBert as MultitaskBERT",
            "minbert.training.loop": "train_step",
        },
        "",
    ),
}


def course_files() -> dict[str, str]:
    """The texts of these files by their names."""
    plain = {name: _text(about, imports) for name, (about, imports) in _EXPORTS.items()}
    jobs = {
        name: _text(about, imports, start=_MAIN.format(arguments=arguments))
        for name, (about, imports, arguments) in _JOBS.items()
    }
    return plain | jobs


def _text(about: str, imports: Mapping[str, str], start: str = "") -> str:
    ending = "\n" if "\n" in about else ""
    head = f'"""{about}{ending}"""\n\n' + ("import sys\n\n" if start else "")
    lines = "".join(f"from {module} import {names}\n" for module, names in imports.items())
    listed = [name.split(" as ")[-1] for names in imports.values() for name in names.split(", ")]
    exported = ", ".join(f'"{name}"' for name in sorted(listed))
    return f"{head}{lines}\n__all__ = [{exported}]\n{start}"

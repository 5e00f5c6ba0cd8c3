"""Which heads and poolings another library can hold, and the way that is left for the others.

`transformers` has one class for a text with a label, `BertForSequenceClassification` or RoBERTa's
and XLM-R's of that name: a linear layer over the pooler. `sentence-transformers` has vectors of
texts and their cosine.
"""

from collections.abc import Mapping, Sequence

from minbert.finetune.trained import TrainedRun
from minbert.support.errors import InputError
from minbert.tasks.heads import CosineHead, VectorHead

TRANSFORMERS, SENTENCES = "transformers", "sentence-transformers"
_ASK = "python -m minbert.predict answers for it"


def why_not(run: TrainedRun, task: str, to: str) -> str | None:
    """Why a task's head cannot be exported, and what can be done; None where it can."""
    head = run.model.heads[run.task(task).name]
    is_related = len(run.model.head_chain(task)) > 1
    is_cosine = isinstance(head, CosineHead) and not is_related
    if to == SENTENCES and is_cosine:
        return None
    lacking = _flags_for_classes(run, task)
    if is_related:
        why = f"its head stands on the relational layer, which {to} does not have"
    elif to == SENTENCES:
        why = f"its head is a layer, and {to} holds vectors and their cosine alone"
    elif not isinstance(head, VectorHead):
        why = f"its head compares the vectors of two texts, and {to} reads both together"
    elif lacking:
        why = f"{to} classifies by BERT's pooler over [CLS], and the run takes the mean over tokens"
    else:
        return None
    if to == SENTENCES and not lacking:
        return f"{why}; --to {TRANSFORMERS} exports it"
    ways = [_ASK, f"train {' and '.join(lacking)} for {TRANSFORMERS}"]
    if to == TRANSFORMERS and _has_vectors(run):
        ways.insert(1, f"--to {SENTENCES} exports {'it' if is_cosine else 'the vectors'}")
    return f"{why}; {', '.join(ways[:-1])}, or {ways[-1]}"


def _flags_for_classes(run: TrainedRun, task: str) -> list[str]:
    """How else a run must be trained so that `transformers` can hold the head of its task."""
    config = run.config
    return [
        *(["without --rlayer"] if len(run.model.head_chain(task)) > 1 else []),
        *(["with --pooling cls"] if config.pooling != "cls" else []),
        *(["with --cross_encoder"] if run.task(task).is_pair and not config.cross_encoder else []),
    ]


def exportable(
    run: TrainedRun, named: Sequence[str] | None, to: str
) -> tuple[list[str], list[str]]:
    """The tasks whose heads go along, and a line about each that does not.

    Tasks that are `named` must all go along, others only where they can. Raises InputError, with
    the first reason, where that fails.
    """
    wanted = run.config.trained_tasks if named is None else list(dict.fromkeys(named))
    reasons: Mapping[str, str | None] = {task: why_not(run, task, to) for task in wanted}
    refused = [f"{task}: {reason}" for task, reason in reasons.items() if reason is not None]
    chosen = [task for task, reason in reasons.items() if reason is None]
    if refused and named is not None:
        raise InputError(f"--task {refused[0]}")
    if to == SENTENCES:
        _check_vectors(run)
    elif not chosen:
        raise InputError(f"{run.folder}: no head can be exported, say {refused[0]}")
    return chosen, refused


def _check_vectors(run: TrainedRun) -> None:
    """Raise InputError where vectors mean nothing."""
    if not _has_vectors(run):
        raise InputError(
            f"{run.folder}: it reads pairs together (--cross_encoder), so it has no vectors of "
            f"single texts; --to {TRANSFORMERS} exports its heads"
        )


def _has_vectors(run: TrainedRun) -> bool:
    """Whether the run has ever read a text alone."""
    trained = [run.config.task(name) for name in run.config.trained_tasks]
    return not (run.config.cross_encoder and all(task.is_pair for task in trained))

"""The course's tasks: SST and CFIMDB (sentiment), Quora (paraphrase), STS (similarity).

FreeLB's numbers are those of its published scripts for SST-2, QQP and STS-B; long reviews take the
sentences' values. The best public student results with bert-base-uncased are .557, .902 and .891 on
test, from which the ceilings keep their distance.
"""

from typing import Any

from minbert.tasks import heads, losses
from minbert.tasks.labels import above_half, class_label, clipped, largest, score_label
from minbert.tasks.metrics import ACCURACY, PEARSON
from minbert.tasks.task import Task

TOP_SIMILARITY = 5.0
# said beside the scores of whatever was fine-tuned from the bundled encoder
BUNDLED_TEACHER = (
    "The encoder learnt from a teacher that was tuned on sentence pairs, Quora's among them, so a "
    "score on Quora's pairs is not that of an encoder which never saw such questions."
)


def _files(stem: str) -> dict[str, str]:
    endings = {"train": "train", "dev": "dev", "test": "test-student"}
    return {split: f"{stem}-{ending}.csv" for split, ending in endings.items()}


def _sentiment(name: str, title: str, label_names: tuple[str, ...], **more: Any) -> Task:
    classes = len(label_names)
    return Task(
        name=name,
        title=title,
        subject="sentiment",
        files=_files(f"ids-{name}"),
        text_columns=("sentence",),
        label_column="sentiment",
        prediction_column="Predicted_Sentiment",
        num_outputs=classes,
        parse_label=class_label(classes),
        loss=losses.cross_entropy,
        divergence=losses.symmetric_kl,
        decode=largest,
        metrics=(ACCURACY,),
        label_names=label_names,
        freelb_init=1.0,
        freelb_radius=0.6,
        freelb_lr=0.1,
        freelb_steps=2,
        **more,
    )


_OPINIONS = ("negative", "somewhat negative", "neutral", "somewhat positive", "positive")
SST = _sentiment("sst", "SST", _OPINIONS, in_course_mix=True, ceiling=0.60)
CFIMDB = _sentiment("cfimdb", "CFIMDB", ("negative", "positive"))
QUORA = Task(
    name="para",
    title="Quora",
    subject="paraphrase",
    files=_files("quora"),
    text_columns=("sentence1", "sentence2"),
    label_column="is_duplicate",
    prediction_column="Predicted_Is_Paraphrase",
    num_outputs=1,
    parse_label=class_label(2),
    loss=losses.binary_cross_entropy,
    divergence=losses.symmetric_kl_bernoulli,
    decode=above_half,
    metrics=(ACCURACY,),
    pair_head=lambda hidden_size: heads.DifferenceHead(hidden_size, 1),
    label_names=("not a paraphrase", "paraphrase"),
    relational=True,
    freelb_init=0.32,
    freelb_radius=0.7,
    freelb_lr=0.2,
    freelb_steps=2,
    in_course_mix=True,
    other_names=("quora",),
    ceiling=0.93,
)
STS = Task(
    name="sts",
    title="STS",
    subject="similarity",
    files=_files("sts"),
    text_columns=("sentence1", "sentence2"),
    label_column="similarity",
    prediction_column="Predicted_Similiary",  # the course's own spelling
    other_columns=("Predicted_Similarity",),
    num_outputs=1,
    parse_label=score_label(TOP_SIMILARITY),
    loss=losses.squared_error,
    divergence=losses.squared_distance,
    decode=clipped(TOP_SIMILARITY),
    metrics=(PEARSON,),
    pair_head=lambda _hidden_size: heads.CosineHead(TOP_SIMILARITY),
    top=TOP_SIMILARITY,
    relational=True,
    freelb_init=0.16,
    freelb_radius=0.28,
    freelb_lr=0.1,
    freelb_steps=3,
    in_course_mix=True,
    ceiling=0.93,
)

"""The exercises of every step, by the step's name."""

from collections.abc import Mapping

from minbert.classroom.exercises import encoder, heads, regularizers, training
from minbert.classroom.exercises.base import Exercise

EXERCISES: Mapping[str, tuple[Exercise, ...]] = {
    "attention": encoder.ATTENTION,
    "multihead": encoder.MULTIHEAD,
    "layer": encoder.LAYER,
    "embeddings": encoder.EMBEDDINGS,
    "adamw": training.ADAMW,
    "sentiment": heads.SENTIMENT,
    "pairs": heads.PAIRS,
    "loop": training.LOOP,
    "divergences": regularizers.DIVERGENCES,
    "smart": regularizers.SMART,
    "r3f": regularizers.R3F_TERM,
}

"""The flags of pretraining, group by group; `config.py` makes one configuration of them."""

from dataclasses import dataclass
from functools import partial

from minbert.support import shared_flags
from minbert.support.flags import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    RATE,
    Limit,
    When,
    flag,
)

TEXT, ENCODER, MASKS = "text", "the encoder", "masked words"
TEACHER = "a teacher, whose vectors of words and sentences are learnt"
LENGTH = "how long (one of the three; default --passes 1)"
OPTIMIZATION, RUN = "optimization", "the run"
SHARE = Limit(lambda x: 0 < x < 1, "above 0 and below 1")
_SIXTEEN = Limit(lambda n: n >= 16, "16 or more")
_NEW = [When(lambda c: c.weights is None, "no --weights, which bring their own shape")]
_GIVEN = [When(lambda c: c.weights is not None, "--weights")]
_TAUGHT = [When(lambda c: c.teacher is not None, "--teacher")]
_GUESSING = [When(lambda c: c.guesses, "no --teacher, or --text_share above 0 beside it")]

_share = partial(flag, limit=SHARE, metavar="SHARE")
_count = partial(flag, limit=AT_LEAST_ONE)


@dataclass(frozen=True)
class PretrainFlags(shared_flags.Readable):
    """Everything that can be typed."""

    text: tuple[str, ...] = flag(
        (),
        TEXT,
        "text files, plain or .gz or .xz: one sentence a line, a blank line between documents; or "
        "the course's tables, each text a document (these need --no_nsp)",
        metavar="FILE",
        several=True,
    )
    cache: str = flag(
        "runs/text", TEXT, "folder that keeps the packed text for later runs", metavar="FOLDER"
    )
    held_out: float = _share(
        0.005, TEXT, "share of the documents that is never trained on and measures progress"
    )
    sequence_length: int = flag(
        128,
        TEXT,
        "tokens a row, [CLS] and [SEP] included; beside a --teacher a longer sentence is cut",
        limit=_SIXTEEN,
        metavar="TOKENS",
    )
    no_nsp: bool = flag(
        False,
        TEXT,
        "no next-sentence prediction: rows run across documents, so documents may be one sentence",
        acts=_GUESSING,
    )

    weights: str | None = flag(
        None,
        ENCODER,
        "go on from this folder (published BERT layout), or from a name that python -m "
        "minbert.download has fetched, with its vocabulary and shape; heads that it lacks begin "
        "fresh. Default: random weights",
        metavar="FOLDER|NAME",
    )
    vocab: str | None = flag(
        None,
        ENCODER,
        "take the vocabulary of this folder; default: one is trained on the text",
        metavar="FOLDER",
    )
    vocab_size: int = flag(
        8192,
        ENCODER,
        "tokens of a trained vocabulary",
        limit=_SIXTEEN,
        metavar="TOKENS",
        acts=[
            When(
                lambda c: c.weights is None and c.vocab is None,
                "no --weights and no --vocab, which bring a vocabulary",
            )
        ],
    )
    layers: int = _count(4, ENCODER, "transformer layers", metavar="N", acts=_NEW)
    hidden_size: int = _count(256, ENCODER, "hidden size", metavar="H", acts=_NEW)
    attention_heads: int = _count(
        4, ENCODER, "attention heads; they divide the hidden size", metavar="A", acts=_NEW
    )
    positions: int = _count(
        512, ENCODER, "longest input that the encoder will take", metavar="TOKENS", acts=_NEW
    )
    repeat_positions: int | None = flag(
        None,
        ENCODER,
        "with --weights that were trained on rows of N tokens only: the position embeddings "
        "beyond, which were never trained, are replaced by repeats of the first N",
        limit=Limit(lambda n: n >= 2, "2 or more"),
        metavar="N",
        acts=_GIVEN,
    )
    embedding_std: float | None = flag(
        None,
        ENCODER,
        "with --weights: scale the embeddings so that the words' have this standard deviation (new "
        "ones have 0.02); what the encoder computes stays, but a learning rate moves smaller ones "
        "further, and so do the perturbations of SMART, R3F and FreeLB",
        limit=Limit(lambda std: 1e-3 <= std <= 10, "0.001 to 10"),
        metavar="STD",
        acts=_GIVEN,
    )
    embeddings: str = flag(
        "neighbours",
        ENCODER,
        "what new word embeddings begin with: neighbours, vectors from which words stand near each "
        "other in the text (takes a minute, saves millions of tokens); random; teacher, the "
        "principal components of the --teacher's",
        choices=("neighbours", "random", "teacher"),
        acts=[When(lambda c: c.weights is None, "no --weights, which bring their own")],
    )
    readable: bool = shared_flags.readable(ENCODER)

    teacher: str | None = flag(
        None,
        TEACHER,
        "draw the encoder's vectors to those of this one (a folder or name, as for --weights; it "
        "may have another vocabulary and shape), through a linear map that keeps angles if the "
        "teacher is at least as wide, and is not saved. Rows are sentences of the text then, one a "
        "line. Pool by the mean: without --pair_share the pooler does not train",
        metavar="FOLDER|NAME",
    )
    text_share: float = flag(
        0.0,
        TEACHER,
        "share of a step's rows on which masked words and next sentences are trained beside; at 0 "
        "their heads are not saved",
        limit=RATE,
        metavar="SHARE",
        acts=_TAUGHT,
    )
    pair_share: float = flag(
        0.0,
        TEACHER,
        "share of the teacher's rows that are pairs of sentences. The encoder reads each sentence "
        "alone, and also a pair together (these two, one of them altered, or any two): from that "
        "it is to tell the cosine of the teacher's two vectors. This keeps it able to compare two "
        "texts that it reads together, and trains its pooler",
        limit=Limit(lambda share: 0 <= share <= 1, "0 to 1"),
        metavar="SHARE",
        acts=_TAUGHT,
    )
    word_weight: float = flag(
        1.0, TEACHER, "weight of the words' loss", limit=NOT_NEGATIVE, metavar="W", acts=_TAUGHT
    )
    sentence_weight: float = flag(
        1.0, TEACHER, "weight of the sentences' loss", limit=NOT_NEGATIVE, metavar="W", acts=_TAUGHT
    )
    score_weight: float = flag(
        1.0,
        TEACHER,
        "weight of the pairs' loss, the squared error of the cosine",
        limit=NOT_NEGATIVE,
        metavar="W",
        acts=[When(lambda c: c.pair_share > 0, "--pair_share")],
    )
    scored_pairs: str | None = flag(
        None,
        TEACHER,
        "file of scored pairs, in the course's layout: at each scoring also Pearson's r between "
        "its similarities and the cosines of the encoder's mean vectors (with --pair_share, also "
        "the scores of pairs that it reads together)",
        metavar="FILE",
        acts=[*_TAUGHT, When(lambda c: c.steps != 0, "--steps above 0")],
    )

    mask_rate: float = _share(
        0.15, MASKS, "share of the tokens that are masked and must be predicted", acts=_GUESSING
    )
    whole_words: bool = flag(False, MASKS, "mask all pieces of a word or none", acts=_GUESSING)

    steps: int | None = flag(
        None,
        LENGTH,
        "optimizer steps; 0 writes the encoder as it begins",
        limit=NOT_NEGATIVE,
        metavar="N",
    )
    passes: float | None = flag(None, LENGTH, "passes over the text", limit=POSITIVE, metavar="N")
    time_budget: str | None = flag(
        None,
        LENGTH,
        "wall time, like 90s, 20m or 1.5h: the speed is measured once, which fixes the steps, so "
        "that the rate is down when the time is over",
        metavar="TIME",
    )

    batch_size: int = _count(256, OPTIMIZATION, "rows a step", metavar="ROWS")
    micro_batch_size: int = shared_flags.micro_batch_size(32, OPTIMIZATION)
    lr: float = flag(1e-3, OPTIMIZATION, "highest learning rate", limit=POSITIVE, metavar="RATE")
    warmup: float = shared_flags.warmup(0.05, OPTIMIZATION)
    schedule: str = shared_flags.schedule("linear", OPTIMIZATION)
    power: float = shared_flags.power(OPTIMIZATION)
    weight_decay: float = shared_flags.weight_decay(0.01, OPTIMIZATION)
    betas: tuple[float, float] = shared_flags.betas((0.9, 0.98), OPTIMIZATION)
    adam_eps: float = shared_flags.adam_eps(OPTIMIZATION)
    clip: float = shared_flags.clip(1.0, OPTIMIZATION)
    dropout: float = flag(
        0.1,
        OPTIMIZATION,
        "in pretraining; 0 is faster and better where no text is seen twice",
        limit=RATE,
        metavar="P",
    )

    save: str | None = flag(
        None,
        RUN,
        "folder to write the encoder to, in the published layout; default encoder/ in --output_dir",
        metavar="FOLDER",
    )
    half: bool = flag(False, RUN, "write the weights as 16-bit floats (float16)")
    finetune_dropout: float | None = flag(
        None,
        RUN,
        "dropout that config.json of the written encoder names, which fine-tuning then has in the "
        "encoder's layers; default: that of --weights, else 0.1",
        limit=RATE,
        metavar="P",
    )
    ranks: int = _count(
        1,
        RUN,
        "processes on this machine that train together, each on a part of every batch, and each on "
        "a GPU of its own where there are any; for more machines start the command by torchrun",
        metavar="N",
    )
    output_dir: str = flag(
        "runs/pretraining", RUN, "log, manifest and checkpoints", metavar="FOLDER"
    )
    resume: bool = shared_flags.resume(RUN)
    track: str | None = shared_flags.track(RUN)
    seed: int = shared_flags.seed(RUN)
    scorings: int = _count(10, RUN, "how often held-out text is scored, at most", metavar="N")
    scored_rows: int = _count(
        1024,
        RUN,
        "held-out rows that are scored, at most, from all over the held-out text",
        metavar="ROWS",
    )
    checkpoint_every: int = _count(200, RUN, "steps between checkpoints", metavar="STEPS")
    device: str = shared_flags.device(RUN)
    threads: int | None = shared_flags.threads(RUN)
    precision: str = shared_flags.precision(RUN, " too")

"""The main job's flags, group by group; `config.py` makes one configuration of them."""

from dataclasses import dataclass
from typing import Any

from minbert.regularizers import registry
from minbert.support import shared_flags
from minbert.support.flags import AT_LEAST_ONE, POSITIVE, RATE, Limit, When, flag
from minbert.tasks.mixing import EQUAL, MIXINGS, PRE, TEMPERATURE, WITH_ROUNDS
from minbert.tasks.registry import COURSE_TASKS, LARGEST_TASK, TASKS, named

TRAINING, DATA, MODEL, OPTIMIZATION, RUN, OUTPUT = (
    "what trains",
    "data",
    "model",
    "optimization",
    "the run",
    "prediction files (relative to the current folder)",
)

_FINETUNE = When(lambda c: c.option == "finetune", "--option finetune")
_A_PAIR = When(
    lambda c: any(TASKS[name].is_pair for name in c.trained_tasks),
    f"{' or '.join(named('is_pair'))} to train",
)
_A_RELATION = When(
    lambda c: any(TASKS[name].relational for name in c.trained_tasks),
    f"{' or '.join(named('relational'))} to train",
)
_RLAYER = When(lambda c: c.rlayer, "--rlayer")
_BY_SIZE = " or ".join(name for name in MIXINGS if name not in WITH_ROUNDS)


def has_head_weights(config: Any) -> bool:
    """Whether anything but a cosine of two vectors stands over the encoder."""
    trained = [TASKS[name] for name in config.trained_tasks]
    related = config.rlayer and any(task.relational for task in trained)
    return related or config.cross_encoder or any(task.head_has_weights for task in trained)


@dataclass(frozen=True)
class TrainingFlags:
    """What trains, and for how long."""

    option: str = flag(
        "pretrain",
        TRAINING,
        "pretrain: the encoder keeps its pretrained weights, only the heads train; "
        "finetune: everything trains",
        choices=("pretrain", "finetune"),
    )
    tasks: tuple[str, ...] | None = flag(
        None,
        TRAINING,
        f"tasks to train on, comma-separated, of {', '.join(TASKS)}; default {COURSE_TASKS[0]}, "
        f"with --rrobin {','.join(COURSE_TASKS)}; these are all scored and predicted anyway. One "
        "task named here is the course's single-task job: it alone is read, scored and predicted",
        metavar="TASK[,TASK...]",
    )
    task_file: tuple[str, ...] | None = flag(
        None,
        TRAINING,
        "TOML file with a task of your own (docs/own-task.md); give the flag again for another. "
        "Without --tasks such a task trains alone, with --rrobin beside the course's",
        metavar="FILE",
        repeated=True,
        acts=[When(lambda c: c.own_tasks.keys() <= {*c.evaluated_tasks}, "its task in --tasks")],
    )
    rrobin: str | None = flag(
        None,
        TRAINING,
        "train on all --tasks, batch by batch; KIND, which defaults to equal, is one of "
        + "; ".join(f"{name}: {mixing.help}" for name, mixing in MIXINGS.items())
        + ". What an epoch draws of each task is printed first",
        metavar="KIND",
        bare=EQUAL,
    )
    pre_task: str = flag(
        LARGEST_TASK,
        TRAINING,
        "task that --rrobin pre trains on alone at first",
        metavar="TASK",
        acts=[When(lambda c: c.rrobin == PRE, f"--rrobin {PRE}")],
    )
    pre_epochs: int = flag(
        1,
        TRAINING,
        "passes over that task's data, before the --epochs",
        limit=AT_LEAST_ONE,
        metavar="N",
        acts=[When(lambda c: c.rrobin == PRE, f"--rrobin {PRE}")],
    )
    temperature: float = flag(
        5.0,
        TRAINING,
        "of --rrobin temperature: 1 is proportional, 2 sqrt, large ones near equal",
        limit=Limit(lambda t: 1 <= t < float("inf"), "1 or more"),
        metavar="T",
        acts=[When(lambda c: c.rrobin == TEMPERATURE, f"--rrobin {TEMPERATURE}")],
    )
    epoch_batches: int | None = flag(
        None,
        TRAINING,
        "batches an epoch of a schedule without rounds; default: as many as the rows of all tasks "
        "make",
        limit=AT_LEAST_ONE,
        metavar="N",
        acts=[When(lambda c: c.rrobin not in (None, *WITH_ROUNDS), f"--rrobin {_BY_SIZE}")],
    )
    steps_per_task: str = flag(
        "separate",
        TRAINING,
        "separate: an optimizer step for every batch; summed: one for a round, on the sum of its "
        "tasks' losses",
        choices=("separate", "summed"),
        acts=[When(lambda c: c.rrobin is not None, "--rrobin")],
    )
    epoch_rows: str = flag(
        "fresh",
        TRAINING,
        "which rows an epoch takes of a task that it does not take whole: fresh, each goes on "
        "where the one before it stopped, so that all rows come in turn; fixed, every epoch has "
        "the same rows, as in the poster's code",
        choices=("fresh", "fixed"),
        acts=[When(lambda c: c.rrobin is not None, "--rrobin")],
    )
    epochs: int | None = flag(
        None,
        TRAINING,
        "epochs of the schedule, each followed by a scoring of dev; default: what the encoder's "
        "folder recommends, else 10",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    batch_size: int | None = flag(
        None,
        TRAINING,
        "examples a batch; default: what the encoder's folder recommends, else 8",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    max_steps: int | None = flag(
        None,
        TRAINING,
        "end after this many optimizer steps, if that is sooner than --epochs",
        limit=AT_LEAST_ONE,
        metavar="STEPS",
    )
    keep: str = flag(
        "best",
        TRAINING,
        "which model is kept, scored and used for predictions: best, that of the epoch with the "
        "best dev scores; last, that of the last step, so that nothing is chosen by dev. Dev is "
        "then scored once, at the end",
        choices=("best", "last"),
    )
    seed: int = shared_flags.seed(TRAINING)


@dataclass(frozen=True)
class ModelFlags(shared_flags.Readable):
    """The encoder and the way from its vectors to the heads."""

    weights: str | None = flag(
        None,
        MODEL,
        "folder of an encoder in the published layout of BERT, RoBERTa or XLM-R, or "
        "a name that python -m minbert.download --weights NAME has fetched; "
        "default data/bert-base-uncased, else the bundled encoder",
        metavar="FOLDER|NAME",
    )
    pooling: str | None = flag(
        None,
        MODEL,
        "one vector per text: cls, BERT's pooler output; mean, the mean of the last hidden states; "
        "default: as the encoder's folder says (recommended.json, 1_Pooling/config.json), else cls",
        choices=("cls", "mean"),
    )
    cross_encoder: bool = flag(
        False,
        MODEL,
        "encode a pair together, as [CLS] a [SEP] b [SEP], not as two texts",
        acts=[_A_PAIR],
    )
    rlayer: bool = flag(
        False,
        MODEL,
        "a relational layer, shared by the pair tasks, before their outputs",
        acts=[_A_RELATION],
    )
    rlayer_dropout: float = flag(
        0.0,
        MODEL,
        "dropout on the relational layer's features, and before the outputs that follow it",
        limit=RATE,
        metavar="P",
        acts=[_RLAYER],
    )
    rlayer_activation: str = flag(
        "none",
        MODEL,
        "what follows a similarity's output over the relational layer: none; sigmoid, which keeps "
        "it within the range of the labels",
        choices=("none", "sigmoid"),
        acts=[_RLAYER],
    )
    hidden_dropout_prob: float = flag(
        0.3,
        MODEL,
        "dropout before the heads (the encoder's own rates come from its config.json)",
        limit=RATE,
        metavar="P",
    )
    readable: bool = shared_flags.readable(MODEL)
    int8: bool = flag(
        False,
        MODEL,
        "score dev and test texts with the encoder's products in 8-bit integers: faster on a CPU, "
        "scores, and by them the best epoch, a little off; training steps stay as they are",
        acts=[_FINETUNE],
    )
    frozen_dropout: bool = flag(
        False,
        MODEL,
        "with --option pretrain, keep the frozen encoder's dropout on, as the course's starter "
        "does; every text is then encoded anew at each step",
        acts=[When(lambda c: c.option == "pretrain", "--option pretrain")],
    )


@dataclass(frozen=True)
class OptimizationFlags:
    """AdamW and its learning rate."""

    lr: float | None = flag(
        None,
        OPTIMIZATION,
        "learning rate; default: what the encoder's folder recommends, else 1e-3 for pretrain, "
        "1e-5 for finetune",
        limit=POSITIVE,
        metavar="RATE",
    )
    head_lr: float | None = flag(
        None,
        OPTIMIZATION,
        "learning rate of the heads and the relational layer, whose weights begin at random; "
        "default: --lr, or, where that is not given either, what the encoder's folder recommends "
        "beside its lr",
        limit=POSITIVE,
        metavar="RATE",
        acts=[_FINETUNE, When(has_head_weights, "a head with weights: --rlayer or another task")],
    )
    weight_decay: float = shared_flags.weight_decay(0.0, OPTIMIZATION)
    betas: tuple[float, float] = shared_flags.betas((0.9, 0.999), OPTIMIZATION)
    adam_eps: float = shared_flags.adam_eps(OPTIMIZATION)
    schedule: str = shared_flags.schedule("constant", OPTIMIZATION)
    power: float = shared_flags.power(OPTIMIZATION)
    warmup: float = shared_flags.warmup(0.0, OPTIMIZATION)
    clip: float | None = shared_flags.clip(None, OPTIMIZATION)

    recipe: str | None = flag(
        None,
        OPTIMIZATION,
        "train as a method's paper does: "
        + "; ".join(f"{name}: {words}" for name, words in registry.recipes().items())
        + ". Each unless given; the method itself is asked for by its own flag",
        choices=tuple(registry.recipes()),
    )
    stdpp: bool = flag(
        False,
        OPTIMIZATION,
        "STD++: warm-up, decay and longer training, as in the R3F paper's baseline; here --warmup "
        "0.1, --schedule linear and twice the epochs, each unless given (the bias correction of "
        "Adam is on anyway)",
    )

"""`RunConfig`: everything that decides a run.

A field is a flag of the command line, with its help, unit and limits in one place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from minbert.flags import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    RATE,
    RATES,
    Limit,
    PerTask,
    check_values,
    flag,
    shown,
)
from minbert.runtime import InputError

COURSE_TASKS = ("sst", "para", "sts")
KNOWN_TASKS = (*COURSE_TASKS, "cfimdb")
DATA, MODEL, OPTIMIZATION, TERMS, SMART, R3F, FREELB, RUN, OUTPUT = (
    "data",
    "model",
    "optimization",
    "regularizers",
    "SMART (--smart; Jiang et al. 2020)",
    "R3F and R4F (--r3f, --r4f; Aghajanyan et al. 2021)",
    "FreeLB (--freelb; Zhu et al. 2020)",
    "the run",
    "prediction files (relative to the current folder)",
)
TRAINING = "what trains"
UNSET = ("lr", "epochs", "batch_size")  # None until `resolved()`
COURSE_RATES = {"pretrain": 1e-3, "finetune": 1e-5}


def _file(default: str, task: str, split: str) -> Any:
    return flag(default, DATA, f"{task} {split} file", metavar="FILE")


def _out(default: str, task: str, split: str) -> Any:
    return flag(default, OUTPUT, f"{task} {split} predictions", metavar="FILE")


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run. Defaults are the course's.

    `lr`, `epochs` and `batch_size` may be None here; `resolved()` fills them in.
    """

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
        "tasks to train on, comma-separated, of sst, para, sts, cfimdb; "
        "default sst, with --rrobin sst,para,sts. All of sst, para and sts are evaluated anyway",
        metavar="TASK[,TASK...]",
    )
    rrobin: str | None = flag(
        None,
        TRAINING,
        "train on all --tasks in turn, batch by batch; KIND defaults to equal: an epoch is as many "
        "rounds as the smallest task has whole batches",
        metavar="KIND",
        bare="equal",
    )
    epochs: int | None = flag(
        None,
        TRAINING,
        "passes of the schedule; default: what the encoder's folder recommends, else 10",
        limit=AT_LEAST_ONE,
        metavar="N",
    )
    batch_size: int | None = flag(
        None,
        TRAINING,
        "examples a step; default: what the encoder's folder recommends, else 8",
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
    seed: int = flag(11711, TRAINING, "seed of every random draw", limit=NOT_NEGATIVE, metavar="N")

    data_dir: str | None = flag(
        None,
        DATA,
        "folder in which the default file names are looked up (a named file wins); default: data/ "
        "if the course's files are there, else the bundled synthetic sample",
        metavar="FOLDER",
    )
    sst_train: str = _file("data/ids-sst-train.csv", "sst", "train")
    sst_dev: str = _file("data/ids-sst-dev.csv", "sst", "dev")
    sst_test: str = _file("data/ids-sst-test-student.csv", "sst", "test")
    para_train: str = _file("data/quora-train.csv", "para", "train")
    para_dev: str = _file("data/quora-dev.csv", "para", "dev")
    para_test: str = _file("data/quora-test-student.csv", "para", "test")
    sts_train: str = _file("data/sts-train.csv", "sts", "train")
    sts_dev: str = _file("data/sts-dev.csv", "sts", "dev")
    sts_test: str = _file("data/sts-test-student.csv", "sts", "test")
    cfimdb_train: str = _file("data/ids-cfimdb-train.csv", "cfimdb", "train")
    cfimdb_dev: str = _file("data/ids-cfimdb-dev.csv", "cfimdb", "dev")
    cfimdb_test: str = _file("data/ids-cfimdb-test-student.csv", "cfimdb", "test")
    strict: bool = flag(False, DATA, "stop at bad rows instead of reporting them and going on")
    limit: int | None = flag(
        None, DATA, "read only the first N rows of every file", limit=AT_LEAST_ONE, metavar="N"
    )
    max_length: int | None = flag(
        None,
        DATA,
        "longest input in tokens, [CLS] and [SEP] included; longer ones are cut and counted; "
        "default: as many positions as the encoder has",
        limit=Limit(lambda n: n >= 5, "5 or more"),
        metavar="TOKENS",
    )

    weights: str | None = flag(
        None,
        MODEL,
        "folder with config.json, vocab.txt and model.safetensors (the published BERT layout), or "
        "a name that python -m minbert.download --weights NAME has fetched; "
        "default data/bert-base-uncased, else the bundled encoder",
        metavar="FOLDER|NAME",
    )
    pooling: str = flag(
        "cls",
        MODEL,
        "one vector per text: cls, BERT's pooler output; mean, the mean of the last hidden states",
        choices=("cls", "mean"),
    )
    cross_encoder: bool = flag(
        False, MODEL, "encode a pair together, as [CLS] a [SEP] b [SEP], not as two texts"
    )
    rlayer: bool = flag(
        False, MODEL, "a relational layer, shared by the pair tasks, before their outputs"
    )
    hidden_dropout_prob: float = flag(
        0.3,
        MODEL,
        "dropout before the heads (the encoder's own rates come from its config.json)",
        limit=RATE,
        metavar="P",
    )
    attention: str = flag(
        "fused",
        MODEL,
        "fused: torch's attention kernel; reference: the dozen readable lines, same result",
        choices=("fused", "reference"),
    )
    frozen_dropout: bool = flag(
        False,
        MODEL,
        "with --option pretrain, keep the frozen encoder's dropout on, as the course's starter "
        "does; every text is then encoded anew at each step",
    )

    lr: float | None = flag(
        None,
        OPTIMIZATION,
        "learning rate; default: what the encoder's folder recommends, else 1e-3 for pretrain, "
        "1e-5 for finetune",
        limit=POSITIVE,
        metavar="RATE",
    )
    weight_decay: float = flag(
        0.0,
        OPTIMIZATION,
        "decoupled weight decay; biases and LayerNorm are exempt",
        limit=RATE,
        metavar="RATE",
    )
    betas: tuple[float, float] = flag(
        (0.9, 0.999),
        OPTIMIZATION,
        "AdamW's decay rates of the first and the second moment",
        limit=RATES,
        metavar="BETA",
    )
    adam_eps: float = flag(1e-6, OPTIMIZATION, "AdamW's epsilon", limit=POSITIVE, metavar="EPS")
    schedule: str = flag(
        "constant",
        OPTIMIZATION,
        "learning rate after warm-up: constant, or down to 0 as (steps left / steps) "
        "(linear) or its power (polynomial)",
        choices=("constant", "linear", "polynomial"),
    )
    power: float = flag(
        2.0, OPTIMIZATION, "exponent of --schedule polynomial", limit=POSITIVE, metavar="P"
    )
    warmup: float = flag(
        0.0,
        OPTIMIZATION,
        "fraction of all steps in which the rate rises linearly to --lr",
        limit=RATE,
        metavar="FRACTION",
    )
    clip: float | None = flag(
        None,
        OPTIMIZATION,
        "scale gradients down to this L2 norm; default off",
        limit=POSITIVE,
        metavar="NORM",
    )

    stdpp: bool = flag(
        False,
        OPTIMIZATION,
        "STD++, what the R3F paper compares with: --warmup 0.1, --schedule linear and twice the "
        "epochs, each unless given (the bias correction of Adam is on anyway)",
    )

    term_warmup: float = flag(
        0.0,
        TERMS,
        "fraction of all steps in which the weights of SMART's and R3F's terms rise linearly from "
        "0. A weight can be a task's own, as in --smart_lambda sst=5,sts=1: tasks not named go "
        "without the term",
        limit=RATE,
        metavar="FRACTION",
    )

    smart: bool = flag(False, SMART, "add SMART's adversarial and Bregman proximal terms")
    smart_lambda: PerTask = flag(
        5.0, SMART, "weight of the adversarial term", limit=POSITIVE, metavar="W"
    )
    smart_epsilon: float = flag(
        1e-5,
        SMART,
        "radius of the perturbation, in the word embeddings' unit (L-infinity)",
        limit=POSITIVE,
        metavar="R",
    )
    smart_sigma: float = flag(
        1e-5,
        SMART,
        "standard deviation of its random start",
        limit=POSITIVE,
        metavar="S",
    )
    smart_eta: float = flag(1e-3, SMART, "size of an ascent step", limit=POSITIVE, metavar="STEP")
    smart_steps: int = flag(1, SMART, "ascent steps", limit=NOT_NEGATIVE, metavar="N")
    smart_dropout: str = flag(
        "off",
        SMART,
        "masks of both branches of a divergence: off, no dropout; shared, the training pass's; "
        "independent, fresh ones for the perturbed branch",
        choices=("off", "shared", "independent"),
    )
    bregman_mu: PerTask = flag(
        1.0, SMART, "weight of the Bregman proximal term", limit=POSITIVE, metavar="W"
    )
    bregman_beta: float = flag(
        0.995,
        SMART,
        "momentum of the averaged weights that it stays close to",
        limit=RATE,
        metavar="BETA",
    )
    no_adversarial: bool = flag(False, SMART, "leave the adversarial term out")
    no_bregman: bool = flag(False, SMART, "leave the Bregman proximal term out")

    r3f: bool = flag(
        False, R3F, "add R3F's term: the divergence from a noised copy of each example"
    )
    r4f: bool = flag(
        False,
        R3F,
        "R3F's term, and the head's weight matrices divided by their largest singular values",
    )
    r4f_scope: str = flag(
        "head",
        R3F,
        "matrices that are: head, all of it, the relational layer included; last, the output's",
        choices=("head", "last"),
    )
    r3f_lambda: PerTask = flag(
        1.0, R3F, "weight of the term (the paper's: .1, .5, 1, 5)", limit=POSITIVE, metavar="W"
    )
    r3f_noise: str = flag(
        "normal",
        R3F,
        "normal: standard deviation --r3f_sigma; uniform: between minus and plus --r3f_sigma",
        choices=("normal", "uniform"),
    )
    r3f_sigma: float = flag(
        1e-5, R3F, "size of the noise, in the word embeddings' unit", limit=POSITIVE, metavar="S"
    )
    r3f_dropout: str = flag(
        "independent",
        R3F,
        "masks of both branches: independent, as the published code has it (which measures dropout "
        "more than noise: see r3f_of_dropout and r3f_of_noise in the log); shared, the training "
        "pass's; off, no dropout",
        choices=("independent", "shared", "off"),
    )

    freelb: bool = flag(
        False,
        FREELB,
        "train on the mean loss along an ascent in the embeddings, instead of the plain loss",
    )
    freelb_steps: int = flag(
        2, FREELB, "passes; the embeddings move between them", limit=AT_LEAST_ONE, metavar="K"
    )
    freelb_lr: PerTask = flag(
        0.1, FREELB, "size of an ascent step (Frobenius norm)", limit=POSITIVE, metavar="STEP"
    )
    freelb_init: PerTask | None = flag(
        None,
        FREELB,
        "magnitude of the random start; default as published, sst=1,para=.32,sts=.16",
        limit=NOT_NEGATIVE,
        metavar="M",
    )
    freelb_radius: PerTask | None = flag(
        None,
        FREELB,
        "radius of the ball (Frobenius norm); default as published, sst=.6,para=.7,sts=.28",
        limit=POSITIVE,
        metavar="R",
    )

    use_gpu: bool = flag(False, RUN, "fail unless there is a GPU (one is used anyway if there)")
    device: str = flag(
        "auto",
        RUN,
        "auto takes cuda, then mps, then cpu",
        choices=("auto", "cuda", "mps", "cpu"),
    )
    precision: str = flag(
        "auto",
        RUN,
        "of the training pass; auto is bf16 on CUDA that has it, fp32 elsewhere. Regularizers' "
        "divergences, evaluation and predictions are fp32 always",
        choices=("auto", "fp32", "bf16"),
    )
    output_dir: str | None = flag(
        None,
        RUN,
        "log, manifest and checkpoints; default runs/<name of the configuration>",
        metavar="FOLDER",
    )
    resume: bool = flag(False, RUN, "go on from the last whole checkpoint in --output_dir")
    checkpoint_every: int = flag(
        500,
        RUN,
        "steps between checkpoints; one is written at each epoch's end anyway",
        limit=AT_LEAST_ONE,
        metavar="STEPS",
    )

    sst_dev_out: str = _out("predictions/sst-dev-output.csv", "sst", "dev")
    sst_test_out: str = _out("predictions/sst-test-output.csv", "sst", "test")
    para_dev_out: str = _out("predictions/para-dev-output.csv", "para", "dev")
    para_test_out: str = _out("predictions/para-test-output.csv", "para", "test")
    sts_dev_out: str = _out("predictions/sts-dev-output.csv", "sts", "dev")
    sts_test_out: str = _out("predictions/sts-test-output.csv", "sts", "test")
    cfimdb_dev_out: str = _out("predictions/{option}-cfimdb-dev-out.csv", "cfimdb", "dev")
    cfimdb_test_out: str = _out("predictions/{option}-cfimdb-test-out.csv", "cfimdb", "test")

    def __post_init__(self) -> None:
        check_values(self)
        _check_combinations(self)

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """The tasks whose batches train: `tasks`, or what leaving it out means."""
        if self.tasks is not None:
            return self.tasks
        return COURSE_TASKS if self.rrobin else COURSE_TASKS[:1]

    @property
    def evaluated_tasks(self) -> tuple[str, ...]:
        """The course's three tasks, and whatever else trains."""
        return tuple(dict.fromkeys((*COURSE_TASKS, *self.trained_tasks)))

    def resolved(self, recommended: Mapping[str, Any] | None = None) -> RunConfig:
        """This configuration with lr, epochs and batch size filled in where they are unset.

        They take the `recommended` values, where there are some, else the course's.
        """
        course = {"lr": COURSE_RATES[self.option], "epochs": 10, "batch_size": 8}
        values = {**course, **(recommended or {})}
        if self.stdpp:
            values["epochs"] *= 2
        unset = [name for name in UNSET if getattr(self, name) is None]
        return dataclasses.replace(self, **{name: values[name] for name in unset})

    def file(self, task: str, split: str) -> str:
        """The path given, or defaulted, for a task's `train`, `dev` or `test` file."""
        return str(getattr(self, f"{task}_{split}"))

    def out_file(self, task: str, split: str) -> str:
        """The path of a task's prediction file for `dev` or `test`."""
        return str(getattr(self, f"{task}_{split}_out")).replace("{option}", self.option)


# --------------------------------------------------------------------------------- combinations

SCHEDULES = ("equal",)
LATER_SCHEDULES = ("pre", "full", "proportional", "sqrt", "annealed", "temperature")
PAIR_TASKS = ("para", "sts")


def _check_combinations(config: RunConfig) -> None:
    """Refuse what contradicts itself, whichever flags were typed."""
    if config.rrobin in LATER_SCHEDULES:
        raise InputError(f"--rrobin {config.rrobin}: not available yet; there is: equal")
    if config.rrobin is not None and config.rrobin not in SCHEDULES:
        raise InputError(f"--rrobin {config.rrobin}: no such schedule; there is: equal")
    trained = config.trained_tasks
    if not trained:
        raise InputError("--tasks: names no task")
    for name in trained:
        if name not in KNOWN_TASKS:
            raise InputError(f"--tasks {name}: no such task; there are: {', '.join(KNOWN_TASKS)}")
    if len(set(trained)) < len(trained):
        raise InputError(f"--tasks {','.join(trained)}: a task is named twice")
    if len(trained) > 1 and not config.rrobin:
        raise InputError(f"--tasks {','.join(trained)}: several tasks need --rrobin")
    if len(trained) < 2 and config.rrobin:
        raise InputError(f"--rrobin with --tasks {','.join(trained)}: needs two tasks or more")
    _check_named_tasks(config)
    if config.freelb and (config.smart or config.r3f or config.r4f):
        other = "--smart" if config.smart else "--r3f" if config.r3f else "--r4f"
        raise InputError(
            f"--freelb {other}: FreeLB takes the place of the training pass that {other} works from"
        )
    if config.no_adversarial and config.no_bregman:
        raise InputError("--no_adversarial --no_bregman: nothing is left of --smart")
    if config.use_gpu and config.device == "cpu":
        raise InputError("--use_gpu --device cpu: they contradict each other")


def _check_named_tasks(config: RunConfig) -> None:
    """Numbers a task must name tasks that train; where none may be left out, all of them."""
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if not isinstance(value, dict):
            continue
        for name in value:
            if name not in config.trained_tasks:
                trained = ", ".join(config.trained_tasks)
                raise InputError(f"--{entry.name} {shown(value)}: {name} does not train: {trained}")
        missing = [name for name in config.trained_tasks if name not in value]
        if missing and entry.metadata["group"] == FREELB:
            raise InputError(f"--{entry.name} {shown(value)}: names no number for {missing[0]}")


Condition = Callable[[RunConfig], bool]


def _trains(*tasks: str) -> Condition:
    return lambda config: any(task in config.trained_tasks for task in tasks)


def _is_scored(task: str) -> Condition:
    return lambda config: task in config.evaluated_tasks


def _idle_rules() -> list[tuple[tuple[str, ...], Condition, str]]:
    """(flags, when they act, what they need): outside that they would silently do nothing."""
    adversarial = tuple(f"smart_{name}" for name in ("lambda", "epsilon", "sigma", "eta", "steps"))
    bregman = ("bregman_mu", "bregman_beta")
    freelb = tuple(f"freelb_{name}" for name in ("steps", "lr", "init", "radius"))
    r3f = tuple(f"r3f_{name}" for name in ("lambda", "noise", "sigma", "dropout"))
    switches = ("smart_dropout", "no_adversarial", "no_bregman")
    rules: list[tuple[tuple[str, ...], Condition, str]] = [
        ((*adversarial, *bregman, *switches), lambda c: c.smart, "--smart"),
        (adversarial, lambda c: not c.no_adversarial, "the adversarial term (--no_adversarial)"),
        (bregman, lambda c: not c.no_bregman, "the Bregman term (--no_bregman)"),
        (("smart_eta",), lambda c: c.smart_steps > 0, "--smart_steps above 0"),
        (r3f, lambda c: c.r3f or c.r4f, "--r3f or --r4f"),
        (("r3f",), lambda c: not c.r4f, "no --r4f, which has its term already"),
        (("r4f_scope",), lambda c: c.r4f, "--r4f"),
        (freelb, lambda c: c.freelb, "--freelb"),
        (("freelb_lr", "freelb_radius"), lambda c: c.freelb_steps > 1, "--freelb_steps above 1"),
        (("term_warmup",), lambda c: c.smart or c.r3f or c.r4f, "--smart or --r3f"),
        (("frozen_dropout",), lambda c: c.option == "pretrain", "--option pretrain"),
        (("power",), lambda c: c.schedule == "polynomial", "--schedule polynomial"),
        (("rlayer", "cross_encoder"), _trains(*PAIR_TASKS), "para or sts to train"),
    ]
    for task in KNOWN_TASKS:
        others = (f"{task}_dev", f"{task}_test", f"{task}_dev_out", f"{task}_test_out")
        rules.append(((f"{task}_train",), _trains(task), f"{task} to train (--tasks, --rrobin)"))
        rules.append((others, _is_scored(task), f"{task} to train (--tasks, --rrobin)"))
    return rules


def refuse_idle_flags(config: RunConfig, given: Collection[str]) -> None:
    """Raise InputError for a flag the user typed that would do nothing in this combination."""
    for names, acts, needs in _idle_rules():
        for name in names:
            if name in given and not acts(config):
                raise InputError(f"--{name} would do nothing here: it needs {needs}")


STDPP: Mapping[str, Any] = {"warmup": 0.1, "schedule": "linear"}  # and twice the epochs


def with_presets(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were typed, and those that a preset among them stands for."""
    preset = STDPP if given.get("stdpp") else {}
    return {**preset, **given}

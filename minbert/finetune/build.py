"""From a `ResolvedConfig` to the parts of a run; `build_data.py` reads its data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from minbert.data.batches import Batch, Dataset
from minbert.data.examples import BadRow
from minbert.encoder.bert import BertModel
from minbert.encoder.split_products import split_products_pay
from minbert.finetune.build_data import build_data
from minbert.finetune.config import Key, ResolvedConfig, RunConfig
from minbert.finetune.evaluate import encode_texts, evaluate
from minbert.finetune.microbatches import MicroBatches
from minbert.model import MultitaskBert
from minbert.regularizers import registry
from minbert.regularizers.method import BatchObjective
from minbert.support.console import log
from minbert.support.device import pick_autocast
from minbert.support.errors import InputError
from minbert.support.randomness import derive_seed, seeded
from minbert.tasks import heads, mixing
from minbert.tasks.registry import TASKS, overall
from minbert.tasks.task import Task
from minbert.training import group
from minbert.training.cuda_graphs import graphed
from minbert.training.optimizer import AdamW, optimizer_for, rate_schedule
from minbert.training.plan import ByPasses, Evaluation, Plan, Trainee, TrainingObjective
from minbert.training.sampling import MixedTaskOrder
from minbert.training.shared import shared


@dataclass(frozen=True)
class Parts:
    """What a run consists of."""

    trainee: Trainee[MultitaskBert, Batch]
    datasets: Mapping[Key, Dataset]
    bad_rows: Sequence[BadRow]
    trained: Sequence[str]  # the tasks whose batches train


def build(config: ResolvedConfig, device: torch.device) -> Parts:
    """Read the data, load the encoder, and put the parts together.

    The files of `config` are located. Raises InputError for what cannot be used.
    """
    if config.int8 and device.type != "cpu":
        raise InputError(f"--int8 is for a CPU, and the run is on {device.type}: add --device cpu")
    encoder = BertModel.from_pretrained(str(config.weights), config.attention, config.seed)
    datasets, bad_rows = build_data(config, encoder.config)
    model = build_model(config, encoder, device).to(device)
    trained = _trainable_tasks(config, model)
    order = _task_order(config, trained, datasets)
    steps = _total_steps(config, order)
    _announce(config, datasets, order)
    objective = registry.build_objective(config, model, steps)
    if config.option == "pretrain":
        datasets = _with_frozen_features(config, model, objective, datasets)
    plan = _plan(config, trained, datasets, order, steps, device)
    running = as_it_runs(config, objective, device)
    trainee = Trainee(model, running, build_optimizer(config, model), plan)
    return Parts(trainee, datasets, bad_rows, trained)


def build_model(config: ResolvedConfig, encoder: BertModel, device: torch.device) -> MultitaskBert:
    """The encoder and a head for each evaluated task, where the encoder is, to run on `device`.

    Raises InputError where R4F finds no head to normalise.
    """
    size, views = encoder.config.hidden_size, 1 if config.cross_encoder else 2
    tasks = [TASKS[name] for name in config.evaluated_tasks]
    with seeded(derive_seed(config.seed, "heads"), torch.device("cpu")):
        relational = None
        if config.rlayer:
            relational = heads.RelationalLayer(size, views, config.rlayer_dropout)
        last, rlayer = config.rlayer_activation, config.rlayer
        own = {t.name: build_head(t, size, views, rlayer=rlayer, activation=last) for t in tasks}
    model = MultitaskBert(
        encoder,
        own,
        relational=relational,
        relational_tasks=frozenset(task.name for task in tasks if task.relational),
        pooling=config.pooling,
        head_dropout=config.hidden_dropout_prob,
        autocast=pick_autocast(config.precision, device),
        frozen_encoder=config.option == "pretrain",
        frozen_dropout=config.frozen_dropout,
        int8=config.int8,
        split_products=not config.readable and split_products_pay(device),
    )
    registry.prepare(config, model)
    return model


def build_head(
    task: Task, hidden_size: int, views: int, *, rlayer: bool, activation: str = "none"
) -> nn.Module:
    """A task's head: its own over two vectors, else linear over the one that is left.

    `activation` is what follows a regression's output over a relational layer.
    """
    related = rlayer and task.relational
    if related and activation == "sigmoid" and task.top is not None:
        return heads.SquashedHead(hidden_size, task.top)
    if task.pair_head is None or views == 1 or related:
        return heads.VectorHead(hidden_size, task.num_outputs, task.center)
    return task.pair_head(hidden_size)


def _trainable_tasks(config: ResolvedConfig, model: MultitaskBert) -> list[str]:
    """The tasks of the run that have weights to train: a cosine over a frozen encoder has none."""
    idle = [
        name
        for name in config.trained_tasks
        if model.frozen_encoder and not model.has_head_weights(name)
    ]
    if len(idle) == len(config.trained_tasks):
        raise InputError(
            f"--option pretrain --tasks {','.join(idle)}: nothing to train, the head has no "
            "weights; add --rlayer or --cross_encoder, or take --option finetune"
        )
    if idle and len(idle) == len(config.trained_tasks) - 1:
        raise InputError(
            f"--option pretrain --rrobin: the head of {', '.join(idle)} has no weights to train, "
            "which leaves one task; name more --tasks, or add --rlayer or --cross_encoder"
        )
    if config.rrobin == mixing.PRE and config.pre_task in idle:
        raise InputError(
            f"--option pretrain --pre_task {config.pre_task}: nothing to train alone, its head has "
            "no weights; name another, or add --rlayer or --cross_encoder"
        )
    for name in idle:
        log.info("%s: its head has no weights, so with a frozen encoder it is only scored", name)
    return [name for name in config.trained_tasks if name not in idle]


def as_it_runs(
    config: RunConfig, objective: BatchObjective, device: torch.device, *, halves: bool = True
) -> TrainingObjective[MultitaskBert, Batch]:
    """The objective as steps call it: by recorded graphs, in pieces, and shared by the ranks.

    Without `halves`, memory that runs out is an error in any case.
    """
    by_graphs = graphed(objective, device, readable=config.readable)
    return shared(in_pieces(config, by_graphs, halves=halves))


def in_pieces(
    config: RunConfig, objective: ByPasses[MultitaskBert, Batch], *, halves: bool = True
) -> MicroBatches:
    """The objective on as much of a batch at once as --micro_batch_size says."""
    if config.micro_batch_size != "auto":
        return MicroBatches(objective, int(config.micro_batch_size))
    # ranks would halve each for itself
    may_halve = halves and group.size() == 1 and not registry.needs_whole_batch(config)
    return MicroBatches(objective, None, halves=may_halve)


def build_optimizer(config: ResolvedConfig, model: MultitaskBert) -> AdamW:
    """AdamW over all that trains."""
    factors = dict.fromkeys(("heads.", "relational."), (config.head_lr or config.lr) / config.lr)
    return optimizer_for(model, config, factors)


def _with_frozen_features(
    config: ResolvedConfig,
    model: MultitaskBert,
    objective: BatchObjective,
    datasets: dict[Key, Dataset],
) -> dict[Key, Dataset]:
    """Encode each text once, where the encoder does not change and nothing enters at its input."""
    kept = {"dev"}
    if config.frozen_dropout:
        log.info("frozen encoder with dropout: train texts are encoded anew at each step")
    elif objective.perturbs_inputs:
        log.info("frozen encoder, perturbed inputs: train texts are encoded anew at each step")
    else:
        kept.add("train")
    return {
        (name, split): dataset.with_features(
            encode_texts(model, dataset, f"{split} {name}", exact=split == "dev")
        )
        if split in kept
        else dataset
        for (name, split), dataset in datasets.items()
    }


def _task_order(
    config: ResolvedConfig, trained: Sequence[str], datasets: Mapping[Key, Dataset]
) -> MixedTaskOrder:
    lengths = {name: datasets[name, "train"].lengths for name in config.trained_tasks}
    mixing_settings = mixing.MixingSettings(
        {name: len(own) for name, own in lengths.items()},
        config.batch_size,
        config.epochs,
        skipped=lengths.keys() - set(trained),
        pre_task=config.pre_task,
        pre_epochs=config.earlier_epochs,
        temperature=config.temperature,
        epoch_batches=config.epoch_batches,
    )
    chosen = mixing.ALONE if config.rrobin is None else mixing.MIXINGS[config.rrobin]
    summed = config.steps_per_task == "summed"
    fixed = config.epoch_rows == "fixed"
    return MixedTaskOrder(chosen, mixing_settings, lengths, config.seed, summed=summed, fixed=fixed)


def _total_steps(config: ResolvedConfig, order: MixedTaskOrder) -> int:
    steps = order.start(config.earlier_epochs + config.epochs)
    return min(steps, config.max_steps or steps)


def _announce(
    config: ResolvedConfig, datasets: Mapping[Key, Dataset], order: MixedTaskOrder
) -> None:
    """Log what every epoch takes of each task."""
    sizes = {name: len(datasets[name, "train"]) for name in config.trained_tasks}
    for line in mixing.table(order.shares, sizes, config.earlier_epochs + config.epochs):
        log.info("%s", line)


def _plan(
    config: ResolvedConfig,
    trained: Sequence[str],
    datasets: Mapping[Key, Dataset],
    order: MixedTaskOrder,
    steps: int,
    device: torch.device,
) -> Plan[MultitaskBert, Batch]:
    train = {name: datasets[name, "train"] for name in trained}
    dev = {name: datasets[name, "dev"] for name in config.evaluated_tasks}
    fresh_at = order.start(config.earlier_epochs)

    def score(model: MultitaskBert) -> Evaluation:
        scores, predictions = evaluate(model, dev)
        return Evaluation(scores, overall({name: scores[name] for name in train}), predictions)

    return Plan(
        order=order,
        draw=lambda task, rows: train[task].batch(rows, device),
        learning_rate=_learning_rate(config, steps, fresh_at),
        evaluate=score,
        total_steps=steps,
        seed=config.seed,
        clip=config.clip,
        checkpoint_every=config.checkpoint_every,
        fresh_at=fresh_at,
        last_only=config.keep == "last",
    )


def _learning_rate(config: ResolvedConfig, steps: int, fresh_at: int) -> Callable[[int], float]:
    """The learning rate at a step. Its schedule begins anew where the optimizer does."""
    lr, earlier = config.lr, min(fresh_at, steps)
    first, then = (
        rate_schedule(config.schedule, count, config.warmup, config.power)
        for count in (earlier, steps - earlier)
    )
    return lambda step: lr * (first(step) if step < fresh_at else then(step - fresh_at))

"""From a configuration to the parts of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from minbert.encoder.attention import ATTENTION
from minbert.encoder.config import EncoderConfig
from minbert.finetune.build import Parts, build, build_head
from minbert.regularizers import registry
from minbert.support.errors import InputError
from minbert.tasks.heads import CosineHead, DifferenceHead, SquashedHead, VectorHead
from minbert.tasks.mixing import MIXINGS
from minbert.tasks.registry import TASKS, overall
from tests.finetune.build.parts import make, make_config
from tests.helpers import VOCAB, same_tensors, save_encoder, whole_batch


def test_every_file_a_run_needs_is_read_and_no_other(place: Path) -> None:
    alone = make(place, tasks=("sst",))
    assert alone.datasets.keys() == {("sst", split) for split in ("train", "dev", "test")}
    evaluated = {(t, s) for t in ("sst", "para", "sts") for s in ("dev", "test")}
    assert make(place, rrobin=None).datasets.keys() == evaluated | {("sst", "train")}
    robin = make(place)
    assert robin.datasets.keys() == evaluated | {(t, "train") for t in ("sst", "para", "sts")}


def drawn(parts: Parts, epoch: int = 0) -> list[tuple[str, ...]]:
    """The tasks of each step."""
    return [tuple(task for task, _ in step) for step in parts.trainee.plan.order.epoch(epoch)]


@pytest.mark.parametrize("kind", MIXINGS)
def test_every_schedule_is_built_and_told(
    place: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="minbert"):
        parts = make(place, rrobin=kind)
    plan = parts.trainee.plan
    assert {task for step in drawn(parts, 1) for task in step} == {"sst", "para", "sts"}
    assert plan.epochs == (4 if kind == "pre" else 3)
    assert plan.total_steps == sum(
        len(list(plan.order.epoch(epoch))) for epoch in range(plan.epochs)
    )
    shown = [line.split() for line in caplog.text.splitlines() if "%" in line]
    assert len(shown) == (4 if kind == "pre" else 3)  # the tables are equal in size


def test_a_schedules_settings_reach_it(place: Path) -> None:
    plan = make(place, rrobin="temperature", temperature=1e9, epoch_batches=30).trainee.plan
    counts = dict.fromkeys(("sst", "para", "sts"), 0)
    for ((task, _),) in plan.order.epoch(0):
        counts[task] += 1
    assert list(counts.values()) == [10, 10, 10]
    parts = make(place, rrobin="pre", pre_task="sts", pre_epochs=2)
    assert [set(drawn(parts, epoch)) for epoch in (0, 1)] == [{("sts",)}] * 2
    assert set(drawn(parts, 2)) == {("sst",), ("para",), ("sts",)}
    summed = make(place, rrobin="full", steps_per_task="summed")
    assert set(drawn(summed)) == {("sst", "para", "sts")}


def test_after_quora_alone_rate_and_optimizer_start_anew(place: Path) -> None:
    settings = {"lr": 1e-3, "schedule": "linear", "warmup": 0.5}
    plan = make(place, rrobin="pre", **settings).trainee.plan  # 3 steps, then 3 epochs of 6
    after = make(place, rrobin="equal", **settings).trainee.plan
    assert (plan.fresh_at, plan.total_steps) == (3, 21)
    assert [plan.learning_rate(step) for step in range(3)] == pytest.approx([5e-4, 1e-3, 1e-3])
    assert [plan.learning_rate(step) for step in range(3, 21)] == [
        after.learning_rate(step) for step in range(18)
    ]
    assert after.fresh_at == 0
    cut = make(place, rrobin="pre", max_steps=2, **settings).trainee.plan
    assert [cut.learning_rate(step) for step in range(2)] == pytest.approx([1e-3, 1e-3])


def test_a_task_without_weights_cannot_train_alone_at_first(place: Path) -> None:
    with pytest.raises(InputError, match="--option pretrain --pre_task sts: nothing to train"):
        make(place, option="pretrain", rrobin="pre", pre_task="sts")
    assert make(place, option="pretrain", rrobin="pre").trained == ["sst", "para"]


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({}, {"sst": VectorHead, "para": DifferenceHead, "sts": CosineHead}),
        ({"rlayer": True}, dict.fromkeys(("sst", "para", "sts"), VectorHead)),
        (
            {"rlayer": True, "rlayer_activation": "sigmoid", "rlayer_dropout": 0.2},
            {"sst": VectorHead, "para": VectorHead, "sts": SquashedHead},
        ),
        ({"cross_encoder": True}, dict.fromkeys(("sst", "para", "sts"), VectorHead)),
        ({"tasks": ("sst", "cfimdb")}, {"cfimdb": VectorHead}),
    ],
    ids=str,
)
def test_heads_fit_the_model(place: Path, changes: dict[str, Any], kinds: dict[str, type]) -> None:
    parts = make(place, **changes)
    for task, kind in kinds.items():
        assert type(parts.trainee.model.heads[task]) is kind
        logits = parts.trainee.model(whole_batch(parts.datasets[task, "dev"]))
        assert logits.shape == (10, TASKS[task].num_outputs)
    assert (parts.trainee.model.relational is not None) == bool(changes.get("rlayer"))


def test_the_seed_decides_the_heads_and_the_weights_file_the_encoder(place: Path) -> None:
    first = make(place, seed=1).trainee.model
    torch.rand(3)
    assert same_tensors(first.state_dict(), make(place, seed=1).trainee.model.state_dict())
    other = make(place, seed=2).trainee.model
    assert same_tensors(first.encoder.state_dict(), other.encoder.state_dict())
    assert not same_tensors(first.heads.state_dict(), other.heads.state_dict())


def test_a_tasks_head_does_not_depend_on_what_else_trains(place: Path) -> None:
    alone, both = make(place, tasks=("sst",)).trainee.model, make(place).trainee.model
    assert same_tensors(alone.heads["sst"].state_dict(), both.heads["sst"].state_dict())


def test_building_leaves_the_default_generator_alone(place: Path) -> None:
    before = torch.get_rng_state()
    make(place, smart=True)
    assert torch.equal(before, torch.get_rng_state())


def test_settings_reach_the_parts_that_use_them(place: Path) -> None:
    parts = make(
        place,
        lr=1e-3,
        betas=(0.8, 0.95),
        adam_eps=1e-7,
        weight_decay=0.1,
        clip=2.0,
        warmup=0.5,
        schedule="linear",
        checkpoint_every=9,
        seed=5,
    )
    decays = {group["weight_decay"] for group in parts.trainee.optimizer.param_groups}
    assert decays == {0.0, 0.1}
    for group in parts.trainee.optimizer.param_groups:
        assert (group["betas"], group["eps"]) == ((0.8, 0.95), 1e-7)
    plan = parts.trainee.plan
    assert (plan.clip, plan.checkpoint_every, plan.seed) == (2.0, 9, 5)
    assert plan.order.start(1) == 6
    assert plan.total_steps == 18
    assert plan.learning_rate(8) == pytest.approx(1e-3)
    assert plan.learning_rate(0) == pytest.approx(1e-3 / 9)
    assert plan.learning_rate(17) == pytest.approx(1e-3 / 9)


def test_heads_and_relational_layer_can_learn_at_a_rate_of_their_own(place: Path) -> None:
    parts = make(place, rlayer=True, lr=1e-4, head_lr=1e-3)
    factor = {
        id(p): g["lr_factor"] for g in parts.trainee.optimizer.param_groups for p in g["params"]
    }
    for name, param in parts.trainee.model.named_parameters():
        expected = 1.0 if name.startswith("encoder.") else 10.0
        assert factor[id(param)] == pytest.approx(expected), name


def test_the_models_settings_reach_it(place: Path) -> None:
    changed = make(place, pooling="mean", hidden_dropout_prob=0.5, readable=True).trainee.model
    plain = make(place).trainee.model
    for model, pooling, dropout, attention in (
        (changed, "mean", 0.5, ATTENTION["reference"]),
        (plain, "cls", 0.3, ATTENTION["fused"]),
    ):
        assert model._pooling == pooling
        assert model._head_dropout.p == dropout
        assert model.encoder.attention is attention


def test_a_frozen_head_without_weights_leaves_the_rounds_as_they_are(
    place: Path, tmp_path: Path
) -> None:
    short = tmp_path / "sts-train.csv"
    lines = (place / "data" / "sts-train.csv").read_text().splitlines()
    short.write_text("\n".join(lines[:6]) + "\n")  # 5 rows: one batch of 4
    frozen = make(place, option="pretrain", sts_train=str(short))
    assert frozen.trained == ["sst", "para"]
    assert frozen.trainee.plan.order.start(1) == 2


def test_a_round_robin_that_one_task_would_be_left_of_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match="leaves one task"):
        make(place, option="pretrain", tasks=("sst", "sts"))
    assert len(make(place, option="pretrain", tasks=("sst", "sts"), rlayer=True).trained) == 2


@pytest.mark.parametrize(("max_steps", "total"), [(5, 5), (18, 18), (99, 18), (None, 18)])
def test_max_steps_shortens_and_never_lengthens(
    place: Path, max_steps: int | None, total: int
) -> None:
    assert make(place, max_steps=max_steps).trainee.plan.total_steps == total


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, True),
        ({"frozen_dropout": True}, False),
        ({"smart": True}, False),
        ({"smart": True, "no_adversarial": True}, True),
    ],
    ids=str,
)
def test_a_frozen_encoders_texts_are_encoded_once_unless_something_enters_there(
    place: Path, changes: dict[str, Any], kept: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="minbert"):
        parts = make(place, option="pretrain", rlayer=True, **changes)
    assert not any(param.requires_grad for param in parts.trainee.model.encoder.parameters())
    assert (parts.datasets["sst", "train"].features is not None) == kept
    assert parts.datasets["sst", "dev"].features is not None
    assert ("encoded anew" in caplog.text) != kept


def test_kept_features_lead_to_the_same_loss_as_texts(place: Path) -> None:
    kept = make(place, option="pretrain", rlayer=True)
    anew = make(place, option="pretrain", rlayer=True, smart=True)
    for task in ("sst", "para", "sts"):
        rows = np.arange(4)
        logits = [
            parts.trainee.model(parts.trainee.plan.draw(task, rows), mask_seed=3)
            for parts in (kept, anew)
        ]
        torch.testing.assert_close(*logits, rtol=1e-5, atol=1e-5)


def test_a_head_without_weights_is_only_scored_with_a_frozen_encoder(place: Path) -> None:
    parts = make(place, option="pretrain")
    assert set(drawn(parts)) == {("sst",), ("para",)}
    scored = parts.trainee.plan.evaluate(parts.trainee.model)
    assert scored.scores.keys() == {"sst", "para", "sts"}
    trained = {task: scored.scores[task] for task in ("sst", "para")}
    assert scored.criterion == pytest.approx(overall(trained))
    with pytest.raises(InputError, match="nothing to train"):
        make(place, option="pretrain", tasks=("sts",))
    make(place, option="finetune", tasks=("sts",))


def test_only_the_heads_train_over_a_frozen_encoder(place: Path) -> None:
    parts = make(place, option="pretrain", rlayer=True)
    trained = {id(p) for group in parts.trainee.optimizer.param_groups for p in group["params"]}
    names = {
        name.split(".")[0] for name, p in parts.trainee.model.named_parameters() if id(p) in trained
    }
    assert names == {"heads", "relational"}


def test_the_criterion_is_the_overall_of_what_trains(place: Path) -> None:
    parts = make(place, rrobin=None)
    scored = parts.trainee.plan.evaluate(parts.trainee.model)
    assert scored.scores.keys() == {"sst", "para", "sts"}
    assert scored.criterion == pytest.approx(scored.scores["sst"])


def test_inputs_cut_to_fit_are_counted_in_the_log(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="minbert"):
        parts = make(place, max_length=6)
    assert parts.datasets["sst", "train"].lengths.max() == 6
    cut = parts.datasets["sst", "train"].texts.truncated
    assert f"ids-sst-train.csv: {cut} of 10 inputs cut to 6 tokens" in caplog.text


def test_a_length_beyond_the_encoders_positions_is_an_error(place: Path) -> None:
    with pytest.raises(InputError, match="--max_length 33"):
        make(place, max_length=33)


def test_limit_and_strict_reach_every_file(place: Path) -> None:
    assert {len(one) for one in make(place, limit=3, batch_size=2).datasets.values()} == {3}
    path = place / "bad.csv"
    path.write_text((place / "data" / "sts-dev.csv").read_text() + "11\tx\ta\tb\tnan\n")
    assert [row.line for row in make(place, sts_dev=str(path)).bad_rows] == [12]
    with pytest.raises(InputError, match=r"bad\.csv:12"):
        make(place, sts_dev=str(path), strict=True)


def test_a_limit_of_the_train_files_leaves_dev_and_test_whole(place: Path) -> None:
    parts = make(place, limit_train=3, batch_size=2)
    used = {
        split: {len(one) for (_, s), one in parts.datasets.items() if s == split}
        for split in ("train", "dev", "test")
    }
    assert used == {"train": {3}, "dev": {10}, "test": {10}}
    lower = make(place, limit_train=3, limit=5, batch_size=2).datasets
    assert (len(lower["sst", "train"]), len(lower["sst", "dev"])) == (3, 5)


def test_little_data_is_the_same_for_every_seed(place: Path) -> None:
    drawn = {
        tuple(make(place, limit_train=3, batch_size=2, seed=seed).datasets["sst", "train"].ids)
        for seed in range(8)
    }
    assert len(drawn) == 1


def test_int8_is_for_a_cpu(place: Path) -> None:
    config = make_config(place, int8=True)
    with pytest.raises(InputError, match=r"--int8 is for a CPU, and the run is on cuda: add"):
        build(config, torch.device("cuda"))


def test_a_vocabulary_larger_than_the_encoders_is_an_error(
    place: Path, tmp_path: Path, tiny: EncoderConfig
) -> None:
    small = save_encoder(tmp_path / "small", dataclasses.replace(tiny, vocab_size=20))
    with pytest.raises(InputError, match=f"its tokenizer has {len(VOCAB)} tokens"):
        make(place, weights=str(small))


@pytest.mark.parametrize("option", ["pretrain", "finetune"])
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_precision_is_lowered_only_where_asked_for(
    place: Path, option: str, precision: str
) -> None:
    model = make(place, option=option, rlayer=True, precision=precision).trainee.model
    assert model.lowers_precision == (precision == "bf16")


def test_the_bregman_term_alone_needs_fp32_too(place: Path) -> None:
    assert registry.lowers(make_config(place))
    assert not registry.lowers(make_config(place, smart=True, no_adversarial=True))


def test_kept_features_of_what_trains_have_the_runs_precision(place: Path) -> None:
    low, high = (
        make(place, option="pretrain", rlayer=True, precision=precision).datasets
        for precision in ("bf16", "fp32")
    )
    ours, theirs = (data["sts", "train"].features for data in (low, high))
    assert ours.dtype == torch.float32
    assert not torch.equal(ours, theirs)
    assert torch.cosine_similarity(ours, theirs).min() > 0.999
    assert torch.equal(low["sts", "dev"].features, high["sts", "dev"].features)


def test_a_relational_layer_is_for_tasks_that_take_it() -> None:
    """Without it a pair keeps its own head: a head over one vector would not read the second."""
    apart = dataclasses.replace(TASKS["para"], relational=False)
    assert isinstance(build_head(apart, 8, 2, rlayer=True), DifferenceHead)
    assert isinstance(build_head(TASKS["para"], 8, 2, rlayer=True), VectorHead)
    assert isinstance(build_head(apart, 8, 1, rlayer=True), VectorHead)  # read together

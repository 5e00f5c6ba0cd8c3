"""The design is what its page says: equal units, equal tuning, the same draws for every arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from minbert.experiments.equal.arms import ARMS, NOISE_ONLY, STANDARD, Tuned
from minbert.experiments.equal.budget import Spending
from minbert.experiments.equal.config import EqualConfig
from minbert.experiments.equal.design import Design, choose, points
from minbert.experiments.grid.cells import Cell, configuration
from minbert.finetune.config import ResolvedConfig
from minbert.support.errors import InputError
from tests.experiments.equal.runs import finished
from tests.experiments.grids import Place
from tests.helpers import write_course_files

UNITS = {STANDARD: 3, "FreeLB": 6, "R-Drop": 6, NOISE_ONLY: 6, "Bregman": 4, "SMART": 9}
RATES = (5e-5, 1e-4, 2e-4, 4e-4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place.make(tmp_path_factory.mktemp("equal"))
    write_course_files(place.root / "data", rows=560)
    return place


@pytest.fixture(scope="module")
def design(place: Place) -> Design:
    spent = {arm: Spending.of(units, 48, 500) for arm, units in UNITS.items()}
    return Design(EqualConfig(scale="full", seeds=3), place.extra, spent)


@pytest.fixture(scope="module")
def tuning(design: Design) -> tuple[dict[str, Tuned], list[Cell]]:
    every, cells = design.tuning()
    return dict(every), cells


@pytest.fixture(scope="module")
def compared(design: Design, tuning: tuple[dict[str, Tuned], list[Cell]]) -> list[Cell]:
    every, _ = tuning
    return design.comparison(choose(list(ARMS.values()), every, dict.fromkeys(every, 0.5)))


def configs(cells: list[Cell]) -> Iterator[tuple[Cell, ResolvedConfig]]:
    return ((cell, configuration(cell.command)) for cell in cells)


def test_every_arm_spends_the_budget_within_a_percent(design: Design) -> None:
    assert list(design.spent) == list(ARMS)
    for spent in design.spent.values():
        assert 0.99 * 48 <= spent.unit_epochs <= 48
        assert spent.steps % 2 == 0 and spent.epoch_steps == 124


def test_units_are_counted(place: Place) -> None:
    arms = [ARMS[name] for name in ("R-Drop", "Bregman", "SMART")]
    config = EqualConfig(scale="full", rows=(STANDARD, *(arm.name for arm in arms)))
    for arm, spent in Design.of(config, place.extra).spent.items():
        assert UNITS[arm] <= spent.units_a_step <= 1.04 * UNITS[arm]  # in a narrow encoder
        assert 0.98 * 48 <= spent.unit_epochs <= 48


@pytest.mark.parametrize("budget", [12, 48, 50.5])
@pytest.mark.parametrize("rows", [8, 300, 3000])
def test_no_more_than_the_budget_is_spent_and_no_round_is_left(budget: float, rows: int) -> None:
    for units in (3.0, 4.01, 9.02):
        spent = Spending.of(units, budget, rows)
        assert spent.unit_epochs <= budget
        round_cost = 2 * units / spent.epoch_steps
        assert spent.unit_epochs + round_cost > budget
        assert (spent.epochs - 1) * spent.epoch_steps < spent.steps
        assert spent.steps <= spent.epochs * spent.epoch_steps


def test_a_budget_below_a_round_pays_for_one() -> None:
    assert Spending.of(9.0, 1, 8).steps == 2


def test_every_arm_tries_eight_configurations() -> None:
    for arm in ARMS.values():
        tried = list(arm.configurations(RATES))
        assert len({tuned.flags for tuned in tried}) == 8
        assert len({tuned.name for tuned in tried}) == 8
        rates = Counter(tuned.rate for tuned in tried)
        if arm.name == STANDARD:
            assert set(RATES) < set(rates) and set(rates.values()) == {1}
        else:
            assert dict(rates) == dict.fromkeys(RATES, 2)
            strengths = set(Counter(tuned.strength for tuned in tried).values())
            assert strengths == ({2} if arm.name == NOISE_ONLY else {4})


def test_runs_of_a_draw_differ_by_the_method_alone(compared: list[Cell]) -> None:
    """The same rows, order, heads and scored rows; what differs is the arm, its rate and length."""
    own = {"lr", "epochs", "max_steps", "output_dir"}
    own |= {
        name
        for name in vars(configuration(compared[0].command))
        if name.startswith(("smart", "r3f", "freelb", "bregman", "no_"))
    }
    by_draw: dict[int, set[str]] = {}
    for cell, config in configs(compared):
        kept = {name: value for name, value in vars(config).items() if name not in own}
        by_draw.setdefault(cell.seed, set()).add(repr(kept))
        assert (config.seed, config.limit_train_seed) == (cell.seed, cell.seed)
        assert (config.limit_train, config.dev_rows, config.keep) == (500, "rest", "last")
        assert (config.clip, config.schedule, config.warmup) == (1.0, "linear", 0.1)
        assert config.tasks == ("sst", "sts") and config.rrobin == "equal"
    assert len(by_draw) == 3 and EqualConfig(scale="full").sizes.draws == 10
    assert all(len(kinds) == 1 for kinds in by_draw.values())


def test_the_arms_are_what_their_names_say(compared: list[Cell]) -> None:
    arms = {cell.row: config for cell, config in configs(compared[:6])}
    assert list(arms) == list(ARMS)
    plain = arms[STANDARD]
    assert not (plain.smart or plain.r3f or plain.r4f or plain.freelb)
    assert arms["FreeLB"].freelb and arms["FreeLB"].freelb_steps == 2
    drop, noise = arms["R-Drop"], arms[NOISE_ONLY]
    assert (drop.r3f, drop.r3f_sigma, drop.r3f_dropout) == (True, 0.0, "independent")
    assert (noise.r3f, noise.r3f_dropout) == (True, "shared") and noise.r3f_sigma > 0
    bregman, smart = arms["Bregman"], arms["SMART"]
    assert bregman.smart and bregman.no_adversarial and not bregman.no_bregman
    assert smart.smart and not smart.no_adversarial and not smart.no_bregman
    assert bregman.smart_dropout == smart.smart_dropout == "shared"


def test_tuning_has_draws_of_its_own_and_is_scored_on_dev(
    tuning: tuple[dict[str, Tuned], list[Cell]], compared: list[Cell]
) -> None:
    every, cells = tuning
    assert (len(every), len(cells)) == (48, 96)
    assert {cell.seed for cell in cells}.isdisjoint(cell.seed for cell in compared)
    assert {config.dev_rows for _, config in configs(cells)} == {"file"}
    assert {cell.seed for cell in cells[:48]} == {cells[0].seed}  # a stopped stage has whole draws


def test_the_best_of_each_arm_is_chosen_by_both_tasks_points(
    tuning: tuple[dict[str, Tuned], list[Cell]],
) -> None:
    every, cells = tuning
    best = {"SMART, λ = 5, rate 0.0002", "standard, rate 0.00014"}
    results = {
        cell.key: finished(cell, sst=0.4, sts=0.8 if cell.row in best else 0.7) for cell in cells
    }
    reached = points(every, cells, results)
    assert reached["SMART, λ = 5, rate 0.0002"] == pytest.approx((0.4 + 0.9) / 2)
    assert reached["SMART, λ = 1, rate 0.0002"] == pytest.approx((0.4 + 0.85) / 2)
    chosen = choose(list(ARMS.values()), every, reached)
    assert chosen["SMART"].name in best and chosen[STANDARD].name in best
    assert chosen["Bregman"].name == "Bregman, μ = 1, rate 5e-05"  # the first of equals


def test_both_tuning_draws_count(tuning: tuple[dict[str, Tuned], list[Cell]]) -> None:
    every, cells = tuning
    results = {cell.key: finished(cell, sst=float(cell.seed % 2), sts=1.0) for cell in cells}
    assert points(every, cells, results) == pytest.approx(dict.fromkeys(every, 0.75))


@pytest.mark.parametrize("flag", ["--lr", "--seed", "--limit_train_seed", "--batch_size", "--clip"])
def test_what_the_design_decides_is_not_given(place: Place, design: Design, flag: str) -> None:
    given = Design(design.config, [*place.extra, flag, "1"], design.spent)
    with pytest.raises(InputError, match=flag):
        given.tuning()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rows": ("SMART", "FreeLB")}, "--rows: name standard"),
        ({"rows": ("standard",)}, "arms that are compared"),
        ({"rows": ("standard", "SMARTEST")}, "no such arm"),
        ({"train_rows": 7}, "--train_rows 7: less than a batch"),
        ({"seeds": 1}, "--seeds 1: must be 2 or more"),
        ({"budget": 0.0}, "--budget 0.0: must be above 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        EqualConfig(**settings)


def test_a_lowest_rate_moves_all_of_them() -> None:
    assert EqualConfig(scale="full", lowest_rate=1e-5).sizes.rates == (1e-5, 2e-5, 4e-5, 8e-5)

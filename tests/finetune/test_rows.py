"""Which rows a run reads: drawn ones, the same for whoever reads them, and never half of a draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from minbert.data.examples import Split
from minbert.finetune.config import RunConfig
from minbert.finetune.identity import completed, settings
from minbert.finetune.rows import dev_choice, file_split, read_rows
from minbert.support.errors import InputError
from minbert.tasks.registry import TASKS
from tests.helpers import write_course_files

ROWS = 40


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_course_files(tmp_path_factory.mktemp("data"), ROWS) / "ids-sst-train.csv"


def read(path: Path, split: str = "train", **given: Any) -> Split:
    return read_rows(vars(RunConfig(**given)), TASKS["sst"], split, path)


def places(split: Split) -> list[int]:
    """Where in the file the rows stand."""
    return [int(example.id[-3:]) for example in split.examples]


def test_a_limit_draws_from_the_whole_file_in_its_order(train: Path) -> None:
    drawn = places(read(train, limit=10))
    assert len(drawn) == 10 and drawn == sorted(drawn) and max(drawn) >= 20
    assert drawn == places(read(train, limit=10, seed=5))
    assert set(drawn) < set(places(read(train, limit=11)))
    assert places(read(train, limit=ROWS + 1)) == list(range(ROWS))
    assert places(read(train, limit=10, limit_rows="first")) == list(range(10))


def test_a_sorted_file_is_drawn_with_all_its_labels(tmp_path: Path) -> None:
    lines = [f"{n}\tx{n}\ta film\t{n // 40}" for n in range(200)]  # 40 of each label, in order
    path = tmp_path / "sorted.csv"
    path.write_text("\n".join(["\tid\tsentence\tsentiment", *lines]) + "\n")
    counts = {
        rows: {e.label for e in read(path, limit=60, limit_rows=rows).examples}
        for rows in ("first", "drawn")
    }
    assert counts == {"first": {0.0, 1.0}, "drawn": {0.0, 1.0, 2.0, 3.0, 4.0}}


def test_another_number_is_another_draw_and_the_runs_seed_is_not(train: Path) -> None:
    draws = {tuple(places(read(train, limit_train=10, limit_train_seed=n))) for n in range(6)}
    assert len(draws) == 6
    by_seed = {tuple(places(read(train, limit_train=10, seed=seed))) for seed in range(6)}
    assert by_seed == {tuple(places(read(train, limit_train=10)))}


@pytest.mark.parametrize("number", [0, 7])
@pytest.mark.parametrize("limit", [None, 30])
def test_the_rest_is_what_the_draw_leaves(train: Path, number: int, limit: int | None) -> None:
    given = {"limit": limit, "limit_train": 12, "limit_train_seed": number}
    given |= {"dev_only": True, "dev_rows": "rest"}
    drawn, rest = (places(read(train, split, **given)) for split in ("train", "dev"))
    assert len(drawn) == 12 and rest == sorted(rest)
    every = places(read(train, limit=limit)) if limit else list(range(ROWS))
    assert sorted([*drawn, *rest]) == every


def test_a_draw_of_everything_leaves_nothing_to_score(train: Path) -> None:
    with pytest.raises(InputError, match=r"ids-sst-train\.csv: a draw of 40 rows leaves none"):
        read(train, "dev", limit_train=ROWS, dev_only=True, dev_rows="rest")


def test_dev_files_are_no_train_rows(train: Path) -> None:
    assert len(read(train, "dev", limit_train=12, limit_train_seed=3).examples) == ROWS
    assert file_split(vars(RunConfig()), "dev") == "dev"


def test_a_run_of_before_draws_is_read_as_its_first_rows(train: Path) -> None:
    """Its manifest names a limit, and not which rows."""
    today = RunConfig(limit=10)
    earlier = {name: v for name, v in vars(today).items() if name not in ("limit_rows", "dev_rows")}
    old = completed(earlier)
    assert places(read_rows(old, TASKS["sst"], "train", train)) == list(range(10))
    assert dev_choice(old) != dev_choice(vars(today))
    assert completed(vars(today))["limit_rows"] == "drawn"
    del earlier["limit"]
    assert dev_choice(completed({**earlier, "limit": None})) == dev_choice(vars(RunConfig()))


def test_a_limit_is_no_longer_the_run_that_it_was() -> None:
    assert settings(RunConfig(limit=10))["limit_rows"] == "drawn"
    assert "limit_rows" not in settings(RunConfig())


def test_a_run_of_before_draws_is_gone_on_with_by_its_first_rows() -> None:
    """Under the name that it has, which hashes the same settings."""
    assert "limit_rows" not in settings(RunConfig(limit=10, limit_rows="first"))


def test_rows_of_the_rest_decide_what_is_scored() -> None:
    given = {"limit_train": 9, "dev_only": True}
    one, other = (vars(RunConfig(**given, limit_train_seed=n)) for n in (1, 2))
    assert dev_choice(one) == dev_choice(other)
    rest = [{**config, "dev_rows": "rest"} for config in (one, other)]
    assert dev_choice(rest[0]) != dev_choice(rest[1])

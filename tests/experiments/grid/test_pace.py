"""The time that a grid still takes, held to simulated grids whose end is known."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from minbert.experiments.grid import runner as module
from minbert.experiments.grid.cells import RESULT, RUN, Cell
from minbert.experiments.grid.pace import Pace, share_done
from minbert.experiments.grid.runner import Runner
from minbert.support import console
from tests.helpers import rest_slow

STEPS = 200


class Clock:
    """A stand-in for the module `time`: it goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Simulated:
    """A cell's process: some seconds of reading, then steps, then scoring."""

    def __init__(self, clock: Clock, folder: Path, seconds: float) -> None:
        self.clock, self.folder, self.seconds, self.began = clock, folder, seconds, clock.now
        (folder / RUN).mkdir(parents=True, exist_ok=True)
        (folder / RUN / "manifest.json").write_text(json.dumps({"total_steps": STEPS}))

    def poll(self) -> int | None:
        share = (self.clock.now - self.began) / self.seconds
        steps = min(STEPS, int(STEPS * (share - 0.05) / 0.75))
        if steps > 0:
            line = json.dumps({"step": steps - 1}) + "\n"
            (self.folder / RUN / "log.jsonl").write_text(line + '{"step": 9')
        if share < 1:
            return None
        (self.folder / RESULT).touch()
        return 0

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def terminate(self) -> None:
        raise AssertionError("all have ended")

    kill = terminate


def cells(draw: random.Random, rows: int, seeds: int) -> tuple[list[Cell], dict[str, float]]:
    """A grid, and the seconds of each row: in the ratio of the costs, give or take a quarter."""
    costs = {f"row{i}": draw.choice([1.0, 1.5, 2.5, 5.0]) for i in range(rows)}
    unit = draw.choice([20.0, 300.0, 4000.0])
    seconds = {row: cost * unit * draw.uniform(0.8, 1.25) for row, cost in costs.items()}
    grid = [
        Cell(row, seed, f"--{row} --seed {seed}", f"{row}-{seed}", cost)
        for seed in range(seeds)
        for row, cost in costs.items()
    ]
    return grid, seconds


@pytest.mark.parametrize("seed", rest_slow(3, range(8)))
def test_after_a_tenth_the_time_left_is_right_within_a_factor_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw, clock = random.Random(seed), Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(console, "time", clock)
    grid, seconds = cells(draw, draw.randint(1, 5), draw.choice([1, 2, 4]))
    monkeypatch.setattr(module, "_LOOK", min(seconds.values()) / 25)
    workers = draw.choice([1, 2, 3])

    def start(cell: Cell, out: Path) -> Simulated:
        noise = draw.uniform(0.9, 1.1)
        return Simulated(clock, cell.folder(out), seconds[cell.row] * noise)

    said: list[tuple[float, float | None]] = []
    update = console.ProgressBar.update

    def listen(bar: console.ProgressBar, count: int, shown: dict, left: float | None) -> None:
        said.append((clock.now, left))
        update(bar, count, shown, left)

    monkeypatch.setattr(console.ProgressBar, "update", listen)
    began = clock.now
    Runner(grid, tmp_path, workers, start).run("grid")
    end = clock.now
    judged = [
        (end - now, left) for now, left in said if 0.1 <= (now - began) / (end - began) <= 0.7
    ]
    assert len(judged) > 10
    for true, left in judged:
        assert left is not None
        assert true / 2 <= left <= 2 * true, (seed, workers, len(grid), true, left)


def test_what_other_runners_make_is_not_ours_to_wait_for() -> None:
    pace, grid = Pace(1), [Cell("r", i, f"--seed {i}", str(i)) for i in range(20)]
    for i in range(4):
        pace.started(grid[i], 0.0, 10.0 * i)
        pace.stopped(grid[i], 10.0 * (i + 1), whole=True)
        pace.made_elsewhere(1)
    assert pace.left(grid[8:], 40.0) == pytest.approx(12 * 10 / 2)


def test_a_run_that_goes_on_counts_as_what_it_would_take_whole() -> None:
    pace, grid = Pace(1), [Cell("r", i, f"--seed {i}", str(i)) for i in range(3)]
    pace.started(grid[0], 0.75, 0.0)
    pace.stopped(grid[0], 10.0, whole=True)
    assert pace.left(grid[1:], 10.0) == pytest.approx(80.0)


def test_without_anything_to_go_by_nothing_is_said() -> None:
    pace, cell = Pace(2), Cell("r", 1, "--seed 1", "1")
    assert pace.left([cell], 0.0) is None
    pace.started(cell, 0.0, 0.0)
    pace.look(cell, 0.5, 10.0)  # one look says how far, and not how fast
    assert pace.left([], 10.0) is None
    pace.stopped(cell, 20.0, whole=False)
    assert pace.left([cell], 20.0) is None


@pytest.mark.parametrize(
    ("manifest", "log", "share"),
    [
        ('{"total_steps": 4}', '{"step": 0}\n{"step": 1}\n{"st', 0.5),
        ('{"total_steps": 4}', "", 0.0),
        ('{"total_steps": 0}', '{"step": 0}\n', 0.0),
        ("{}", '{"step": 1}\n', 0.0),
        ("{", '{"step": 1}\n', 0.0),
        ('{"total_steps": 10000}', '{"step": 1}\n' * 4999 + '{"step": 4999}\n', 0.5),
    ],
)
def test_how_far_a_run_is(tmp_path: Path, manifest: str, log: str, share: float) -> None:
    assert share_done(tmp_path) == 0.0
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "log.jsonl").write_text(log)
    assert share_done(tmp_path) == share

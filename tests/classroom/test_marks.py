"""A mistake costs points of its own step and of no other, by the marker and in a real sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from minbert.classroom.marking.attempt import attempt
from minbert.classroom.marking.marks import Key, Marker, StepMark
from minbert.classroom.marking.sandbox import Answer
from minbert.classroom.marking.submission import HandedIn, files_with_holes
from minbert.classroom.marking.wire import packed
from minbert.classroom.mistakes import SLIPS, Slip, standing_in
from minbert.classroom.recording import recorded
from minbert.classroom.source import PACKAGE, definition_text, module_of, path_of
from minbert.classroom.steps import STEPS, Step
from minbert.support.errors import RunError
from tests.classroom.bench import Bench, our_files

EVERY = [(step, slip) for step in STEPS for slip in SLIPS[step.name]]
THIRTY = EVERY[1::3]
WHOLE = HandedIn(dict.fromkeys(files_with_holes(STEPS), b""))  # no process reads them here


class InProcess:
    """Stands for a sandbox: it runs our modules, with a mistake in them, here."""

    def __init__(self, folder: Path, slip: Slip | None = None) -> None:
        self.folder, self._slip = folder, slip

    def run(self, _tree: Path, step: str, inputs: bytes) -> Answer:
        with ExitStack() as stack:
            if self._slip is not None:
                slip = self._slip
                stack.enter_context(standing_in(slip.function, slip.definition))
            return Answer(attempt(step, inputs))


@pytest.fixture(scope="module")
def key() -> Key:
    return {step.name: recorded(step, 7) for step in STEPS}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


def marks(key: Key, base: Path, slip: Slip | None = None) -> list[StepMark]:
    box: Any = InProcess(base.parent, slip)
    return Marker(box, base, key, STEPS).marks(
        HandedIn(dict.fromkeys(files_with_holes(STEPS), b""))
    )


def charged(found: Sequence[StepMark]) -> set[str]:
    """The steps that lost points."""
    assert all(0 <= mark.points <= mark.step.points for mark in found)
    return {mark.step.name for mark in found if mark.points < mark.step.points}


def one_of_each() -> list[Any]:
    return [pytest.param(step, SLIPS[step.name][-1], id=step.name) for step in STEPS]


def test_our_solution_has_all_points(key: Key, base: Path) -> None:
    assert charged(marks(key, base)) == set()


@pytest.mark.parametrize(("step", "slip"), one_of_each())
def test_a_mistake_costs_its_own_step_alone_and_is_named(
    key: Key, base: Path, step: Step, slip: Slip
) -> None:
    found = marks(key, base, slip)
    assert charged(found) == {step.name}
    assert slip.words in {words for mark in found for words in mark.wrong.values()}


def test_messages_about_hidden_inputs_tell_no_expected_number(key: Key, base: Path) -> None:
    function = "minbert.encoder.attention.attention_weights"
    slip = Slip(function, "scores.softmax(dim=-1)", "scores.softmax(dim=-1) * 1.5", "")
    (first, *_) = marks(key, base, slip)
    assert first.wrong and all("should have" not in words for words in first.wrong.values())


def test_an_answer_that_is_none_costs_the_step_and_is_said(key: Key, base: Path) -> None:
    class Box(InProcess):
        contents = iter([b"", b"\x00\x01", packed({"other": "x"}), packed({"": "SyntaxError"})])

        def run(self, _tree: Path, _step: str, _inputs: bytes) -> Answer:
            return Answer(next(self.contents), "")

    box: Any = Box(base.parent)
    files = HandedIn(dict.fromkeys(files_with_holes(STEPS[:1]), b""))
    said = []
    for _ in range(4):
        (mark,) = Marker(box, base, key, STEPS[:1]).marks(files)
        assert mark.points == 0
        said += set(mark.wrong.values())
    assert said == ["what came back is no answer"] * 2 + ["no output came back", "SyntaxError"]


def test_a_machine_on_which_not_even_the_starter_runs_gives_no_marks(key: Key, base: Path) -> None:
    hole = STEPS[0].holes[0]
    said = [{"weights": STEPS[0].message(hole)}, {"": "ImportError: no libtorch"}, {"weights": {}}]

    class Box(InProcess):
        contents = iter([packed(each) for each in said])

        def run(self, _tree: Path, _step: str, _inputs: bytes) -> Answer:
            return Answer(next(self.contents))

    box: Any = Box(base.parent)
    marker = Marker(box, base, key, STEPS)
    marker.check()
    for words in ("no libtorch", ""):
        with pytest.raises(RunError, match=f"submissions cannot be run here: .*{words}"):
            marker.check()


def test_a_process_gets_its_steps_inputs_and_nothing_else(key: Key, base: Path) -> None:
    seen: dict[str, set[str]] = {}

    class Box(InProcess):
        def run(self, tree: Path, step: str, inputs: bytes) -> Answer:
            seen[step] = set(load(inputs))
            return super().run(tree, step, inputs)

    box: Any = Box(base.parent)
    Marker(box, base, key, STEPS).marks(WHOLE)
    for step in STEPS:
        records = key[step.name].items()
        assert seen[step.name] == {f"{name}|{k}" for name, one in records for k in one.inputs}


def test_help_from_another_module_of_the_submission_is_there(key: Key, base: Path) -> None:
    """After an error a step runs again beside all modules; what is right in either counts."""
    trees: list[set[str]] = []

    class Box(InProcess):
        def run(self, tree: Path, step: str, inputs: bytes) -> Answer:
            trees.append({p.name for p in tree.rglob("*.py")})
            alone = len(trees) == 1
            return (
                Answer(packed({"": "ImportError: no helper"}))
                if alone
                else super().run(tree, step, inputs)
            )

    box: Any = Box(base.parent)
    (mark,) = Marker(box, base, key, STEPS[2:3]).marks(WHOLE)
    assert mark.wrong == {} and trees[0] == {"bert.py"} and "attention.py" in trees[1]


# ------------------------------------------------------------------------------- in a real sandbox


def with_mistake(slip: Slip, files: Mapping[Path, bytes]) -> dict[Path, bytes]:
    """Our modules with the mistake in one."""
    module, name = module_of(slip.function)
    path = path_of(module).relative_to(PACKAGE.parent)
    text = definition_text(files[path], name)
    assert text.count(slip.right) == 1
    start = files[path].decode().index(f"def {name.rpartition('.')[2]}(")
    if "." in name:
        start = files[path].decode().index(f"class {name.partition('.')[0]}")
        start = files[path].decode().index(f"def {name.rpartition('.')[2]}(", start)
    head, tail = files[path].decode()[:start], files[path].decode()[start:]
    return {**files, path: (head + tail.replace(slip.right, slip.wrong, 1)).encode()}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = Bench(tmp_path_factory.mktemp("bench"), "everything")
    with made.sandbox:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "slip"), THIRTY, ids=lambda x: getattr(x, "words", getattr(x, "name", ""))[:40]
)
def test_thirty_mutants_each_lose_points_of_their_own_step(
    bench: Bench, step: Step, slip: Slip
) -> None:
    found = bench.marks(with_mistake(slip, our_files(STEPS)))
    assert charged(found) == {step.name}
    assert slip.words in {words for mark in found for words in mark.wrong.values()}


@pytest.mark.slow
def test_a_module_that_cannot_be_loaded_costs_its_own_steps_alone(bench: Bench) -> None:
    bert = Path("minbert/encoder/bert.py")
    found = bench.marks({**our_files(STEPS), bert: b"raise SystemExit(1)"})
    assert charged(found) == {"layer", "embeddings"}


@pytest.mark.slow
def test_a_module_of_the_students_own_is_imported(bench: Bench) -> None:
    attention = Path("minbert/encoder/attention.py")
    files = our_files(STEPS)
    extra = b"\nfrom minbert.encoder.mine import answer\nassert answer == 42\n"
    whole = HandedIn(
        {**files, attention: files[attention] + extra},
        {Path("minbert/encoder/mine.py"): b"answer = 42\n"},
    )
    marker = Marker(bench.sandbox, bench.base, bench.key, STEPS)
    assert charged(marker.marks(whole)) == set()

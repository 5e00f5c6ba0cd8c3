"""The assignment's tables: functions that exist, docstrings that suffice, mistakes that show."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from minbert.classroom import checks
from minbert.classroom.detours import DETOURS
from minbert.classroom.exercises.all import EXERCISES
from minbert.classroom.mistakes import SLIPS, Slip, standing_in
from minbert.classroom.recorded import Recorded
from minbert.classroom.recording import recorded
from minbert.classroom.source import (
    as_body,
    body,
    definition,
    definition_text,
    module_of,
    path_of,
    replaced,
)
from minbert.classroom.steps import LEVELS, STEPS, Hole, Step, steps_of
from minbert.support.errors import InputError

COURSE = (  # what students of 2023 and 2024 fill in
    "BertSelfAttention.attention BertLayer.add_norm BertLayer.forward BertModel.embed AdamW.step "
    "BertSentimentClassifier.__init__ BertSentimentClassifier.forward MultitaskBERT.__init__ "
    "MultitaskBERT.forward MultitaskBERT.predict_sentiment MultitaskBERT.predict_paraphrase "
    "MultitaskBERT.predict_similarity"
)
HOLES = [(step, hole) for step in STEPS for hole in step.holes]
EVERY_SLIP = [(step, slip) for step, slips in SLIPS.items() for slip in slips]
by_function = pytest.mark.parametrize(("step", "hole"), HOLES, ids=lambda x: x.name)


def with_lines(function: str, lines: str) -> str:
    """The definition of a function of ours with another body."""
    module, name = module_of(function)
    last = name.rpartition(".")[2]
    source = definition_text(path_of(module).read_bytes(), name).encode()
    return replaced(source, {last: as_body(source, last, lines)}).decode()


def raising(hole: Hole) -> str:
    """The hole's definition, emptied."""
    return with_lines(hole.function, f"raise NotImplementedError({hole.name!r})")


@pytest.fixture(scope="module")
def records() -> dict[str, dict[str, Recorded]]:
    return {step.name: recorded(step, 5) for step in STEPS}


def test_levels_grow_and_the_courses_is_whole() -> None:
    sizes = [len(steps_of(level)) for level in LEVELS]
    assert sizes == sorted(set(sizes)) and sizes[-1] == len(STEPS)
    named = {n for step in steps_of("course") for h in step.holes for n in h.course.split(", ")}
    assert set(COURSE.split()) <= named
    with pytest.raises(InputError, match="--holes all: not one of attention, course, everything"):
        steps_of("all")


def test_every_step_has_its_own_holes_exercises_and_mistakes() -> None:
    functions = [hole.function for _, hole in HOLES]
    assert len(functions) == len(set(functions))
    names = [step.name for step in STEPS]
    assert names == list(EXERCISES) == list(SLIPS)
    for step in STEPS:
        assert {slip.function for slip in SLIPS[step.name]} <= set(step.functions)
    assert {detour.step for detour in DETOURS} <= set(names)


@by_function
def test_a_docstring_or_its_class_says_what_must_come_out(step: Step, hole: Hole) -> None:
    module, name = module_of(hole.function)
    source = path_of(module).read_bytes()
    body(source, name)
    said = ast.get_docstring(definition(source, name)) or ""
    owner = name.rpartition(".")[0]
    classes = [n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)]
    said += "".join(ast.get_docstring(c) or "" for c in classes if c.name == owner)
    assert len(said) > 30, hole.function
    assert hole.know.endswith(".") and step.about.endswith(".")


@pytest.mark.parametrize(("step", "slip"), EVERY_SLIP, ids=lambda x: getattr(x, "words", x)[:40])
def test_a_mistake_is_called_by_its_name_in_its_own_step(
    records: dict[str, dict[str, Recorded]], step: str, slip: Slip
) -> None:
    with standing_in(slip.function, slip.definition):
        said = [checks.verdict(each, records[step][each.name]) for each in EXERCISES[step]]
    assert slip.words in said


@by_function
def test_an_empty_hole_shows_in_its_own_step_and_in_no_other(
    records: dict[str, dict[str, Recorded]], step: Step, hole: Hole
) -> None:
    with standing_in(hole.function, raising(hole)):
        said = dict(verdicts(records))
    assert hole.name in said.pop(step.name)
    assert {word for words in said.values() for word in words} == {None}


def verdicts(records: dict[str, dict[str, Recorded]]) -> Iterator[tuple[str, set[str | None]]]:
    for step, exercises in EXERCISES.items():
        yield step, {checks.verdict(each, records[step][each.name]) for each in exercises}


def test_other_seeds_give_other_inputs_and_our_solution_passes_them(
    records: dict[str, dict[str, Recorded]],
) -> None:
    assert all(words == {None} for _, words in verdicts(records))
    step = STEPS[0]
    first, second = (recorded(step, seed)["weights"] for seed in (5, 6))
    assert first.inputs["query"].shape == second.inputs["query"].shape
    assert not (first.inputs["query"] == second.inputs["query"]).any()


def test_a_students_error_names_its_line(records: dict[str, dict[str, Recorded]]) -> None:
    slip = Slip("minbert.encoder.attention.attention_weights", "key.transpose(-1, -2)", "key", "")
    with standing_in(slip.function, slip.definition):
        said = checks.verdict(EXERCISES["attention"][0], records["attention"]["weights"])
    assert said is not None and said.startswith("RuntimeError: ") and "attention_weights" in said

"""A starter: a folder with our own modules, the bodies of the assigned functions emptied."""

import shutil
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import jinja2

from minbert.classroom import recorded
from minbert.classroom.course_files import course_files
from minbert.classroom.emptying import starters_files
from minbert.classroom.handout import optimizer_test, sanity_check
from minbert.classroom.recorded import Recorded
from minbert.classroom.recording import recorded as record_step
from minbert.classroom.source import PACKAGE, module_of, path_of
from minbert.classroom.steps import Step, steps_of
from minbert.support import durable_files
from minbert.support.outputs import check_new_folder
from minbert.support.places import BUNDLED_ENCODER, SAMPLE
from minbert.training.optimizer import AdamW

SEED = 11711  # of the inputs that are handed out; an autograder takes others
_HANDOUT = PACKAGE / "classroom" / "handout"
_CHECKS = {"sanity_check": sanity_check, "optimizer_test": optimizer_test}
MODULES = (
    "minbert.finetune.cli",
    "minbert.grade.__main__",
    "minbert.classroom.checks",
    *(f"minbert.classroom.handout.{name}" for name in _CHECKS),
)
_TEST = '''"""Step {number}, {title}: python -m pytest tests/test_step{number}_{name}.py"""

from pathlib import Path

import pytest

from minbert.classroom.checks import check, exercises_of


@pytest.mark.parametrize("exercise", exercises_of("{name}"))
def test_{name}(exercise: str) -> None:
    wrong = check(Path(__file__).parent / "recorded", "{name}", exercise)
    if wrong is not None:
        pytest.fail(f"{{exercise}}: {{wrong}}", pytrace=False)
'''
_PYTEST = """\
[pytest]
testpaths = tests
pythonpath = .
addopts = -q --tb=short
"""


def make_starter(folder: Path, level: str) -> None:
    """Write the starter of a level (`steps.LEVELS`) into a new folder.

    Raises InputError for a folder that is there and not empty, or cannot be written, and for a
    level that there is not.
    """
    steps = steps_of(level)
    check_new_folder(folder)
    with durable_files.new_folder(folder) as draft:
        _write_modules(draft, steps)
        _write_tests(draft, steps)
        _write_rest(draft, steps)
        for data in (SAMPLE, BUNDLED_ENCODER):
            shutil.copytree(data, draft / "data" / data.name)


def _write_modules(draft: Path, steps: Iterable[Step]) -> None:
    for path, content in starters_files(MODULES, steps):
        if PACKAGE.parent / path.parent != _HANDOUT:
            _write(draft / path, content)


def _write_tests(draft: Path, steps: Iterable[Step]) -> None:
    """A test file a step, with what it compares with, and the checks of encoder and optimizer."""
    folder = draft / "tests" / "recorded"
    for step in steps:
        text = _TEST.format(number=step.number, name=step.name, title=step.title)
        _write(draft / "tests" / f"test_step{step.number}_{step.name}.py", text.encode())
        _record(folder / f"{step.name}.safetensors", record_step(step, SEED))
    expected = sanity_check.outputs("reference")
    _record(folder / "sanity_check.safetensors", {sanity_check.NAME: Recorded({}, expected)})
    _record(folder / "optimizer_test.safetensors", {optimizer_test.NAME: fitted_points()})


def fitted_points() -> Recorded:
    """The record of the optimizer's test."""
    given = optimizer_test.start()
    weight = optimizer_test.fitted(given, lambda *args, **kw: AdamW(*args, **kw, fused=False))
    return Recorded(given, {"weight": weight})


def _write_rest(draft: Path, steps: tuple[Step, ...]) -> None:
    texts = {
        **course_files(),
        **{f"{name}.py": _handed_out(f"{name}.py") for name in _CHECKS},
        "README.md": readme(steps),
        "requirements.txt": _handed_out("requirements.txt"),
        "pytest.ini": _PYTEST,
        "LICENSE": _licence(),
    }
    for name, text in texts.items():
        _write(draft / name, text.encode())


def readme(steps: tuple[Step, ...]) -> str:
    """The assignment in steps, in the order of work."""
    places = {
        function: str(path_of(module_of(function)[0]).relative_to(PACKAGE.parent))
        for step in steps
        for function in step.functions
    }
    encoder = [step.name for step in steps if step.file == "bert.py"]
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701  Markdown, of our own words alone
        keep_trailing_newline=True,
    )
    return environment.from_string(_handed_out("README.md")).render(
        steps=steps,
        places=places,
        count=len(places),
        sanity_after=encoder[-1],
    )


def _handed_out(name: str) -> str:
    return (_HANDOUT / name).read_text(encoding="utf-8")


def _licence() -> str:
    """The licence's text, from a clone or from an installed package."""
    ours = PACKAGE.parent / "LICENSE"
    if ours.is_file():
        return ours.read_text(encoding="utf-8")
    return metadata.distribution("minbert").read_text("licenses/LICENSE") or ""


def _record(path: Path, exercises: Mapping[str, Recorded]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    recorded.save(path, exercises)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)

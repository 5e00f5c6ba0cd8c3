"""The command from start to end: links, features, probes, a report, and nothing made twice."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from minbert.experiments.__main__ import main
from minbert.experiments.grid.cells import DEV, RESULT
from minbert.experiments.probe import keeping, process
from minbert.experiments.probe.steps import ENCODER, FEATURES, LINK, PROBES, Step
from minbert.support.durable_files import sha256_of
from tests.experiments.grids import Place
from tests.experiments.probe.chains import command, in_process
from tests.helpers import write_course_files


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place.make(tmp_path_factory.mktemp("probe"))
    write_course_files(place.root / "data", rows=24, tasks=("sst", "para", "sts", "cfimdb"))
    return place


def contents(out: Path, made: list[Step]) -> dict[tuple[str, int], bytes]:
    """Every step's published bytes: arrays, and of links the encoder's hash."""
    found = {}
    for step in made:
        folder = step.folder(out)
        if step.kind == LINK:
            encoder = json.loads((folder / RESULT).read_text())["encoder"]
            found[step.name, step.seed] = encoder.encode()
        else:
            found[step.name, step.seed] = (folder / RESULT).read_bytes() + (
                folder / DEV
            ).read_bytes()
    return found


FIGURE_4 = ("--figure", "4", "--methods", "standard,r4f", "--seeds", "1")


@dataclass(frozen=True)
class Whole:
    """A chain that has run: its steps in their order, what it printed, and its files in `out`."""

    out: Path
    made: list[Step]
    printed: str


@pytest.fixture(scope="module")
def wholes() -> list[Whole]:
    """The chains that have run for this file's tests: one, or none so far."""
    return []


@pytest.fixture
def whole(place: Place, wholes: list[Whole]) -> Whole:
    """The chain of `FIGURE_4`, run once, by the first test that asks for it."""
    if not wholes:
        made: list[Step] = []
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(printed):
            in_process(patched, made)
            assert main(command(place, *FIGURE_4)) == 0
        wholes.append(Whole(place.out, made, printed.getvalue()))
    return wholes[0]


def copied(whole: Whole, out: Path) -> Path:
    """A folder of a test's own, in which the chain has run."""
    shutil.copytree(whole.out, out)
    return out


def test_a_chain_is_trained_probed_and_reported_and_nothing_is_made_twice(
    place: Place, whole: Whole, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kinds = [step.kind for step in whole.made]
    assert kinds.count(LINK) == 2 * 2 and kinds.count(FEATURES) == kinds.count(PROBES) == 4 + 2
    assert len({step.key for step in whole.made}) == len(whole.made)
    out = copied(whole, tmp_path / "out")
    (page,) = out.glob("probe-smoke-*.md")
    text = page.read_text()
    assert text in whole.printed
    assert sha256_of(place.root / "encoder" / "model.safetensors") in text
    for title in ("Figure 4: degradation", "Verdicts", "Probes", "Drift of", "Spearman's", "layer"):
        assert title in text
    for encoder in ("pretrained", "random", "standard", "r4f"):
        assert f"| {encoder} |" in text
    with page.with_suffix(".csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == (4 + 2) * 3  # encoders, probes
    html = (page.with_suffix(".html")).read_text()
    assert html.count("<svg") == 2 and "the paper&#39;s shape" in html.replace("'", "&#39;")
    assert not list(out.glob(f"cells/*/{ENCODER}")), "encoders go when they have served"

    made: list[Step] = []
    in_process(monkeypatch, made)
    assert main(command(place, *FIGURE_4, out=out)) == 0
    assert not made and page.read_text() == text

    # a longer chain needs an encoder that is gone: it comes to the same weights
    before = {path: path.read_bytes() for path in out.glob(f"cells/*/{DEV}")}
    with_more = command(place, *FIGURE_4, out=out)
    with_more[with_more.index("sst,para")] = "sst,para,cfimdb"
    assert main(with_more) == 0
    assert [step.row for step in made if step.kind == LINK].count("standard 2 (para)") == 1
    assert all(path.read_bytes() == own for path, own in before.items())


@pytest.mark.slow
def test_a_chain_that_was_killed_in_its_middle_ends_in_the_same_bytes(
    place: Place, whole: Whole, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Step] = []
    in_process(monkeypatch, made)
    publish, count = process._publish, 0

    class Killed(BaseException):
        pass

    def killed(*arguments: object) -> None:
        nonlocal count
        count += 1
        if count == 6:  # by now links have been trained, and some features are there
            raise Killed
        publish(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(process, "_publish", killed)
    again = command(place, *FIGURE_4, out=tmp_path)
    with pytest.raises(Killed):
        main(again)
    assert main(again) == 0
    assert len({step.key for step in made}) == len(made) == len(whole.made)
    assert contents(tmp_path, made) == contents(whole.out, whole.made)
    pages = [next(out.glob("probe-*.md")).read_bytes() for out in (whole.out, tmp_path)]
    assert pages[0] == pages[1]


def test_what_builds_on_a_failed_link_fails_and_the_rest_is_made(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: list[Step] = []
    in_process(monkeypatch, made)
    train = process.link.train

    def failing(step: Step, *rest: object) -> None:
        if step.row.startswith("r4f 1"):
            raise process.RunError("no luck")
        train(step, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(process.link, "train", failing)
    assert main(command(place, *FIGURE_4, out=tmp_path)) == 1
    err = capsys.readouterr().err
    assert "failed: r4f 1 (sst), seed 11711: no luck" in err
    assert "r4f 2 (para), seed 11711: what it needs has failed" in err
    assert {step.row for step in made if step.kind == LINK} == {
        "standard 1 (sst)",
        "standard 2 (para)",
    }


def test_an_encoder_is_kept_while_something_needs_it(tmp_path: Path) -> None:
    link = Step("a", 1, "", "parent", kind=LINK)
    child = Step("b", 1, "", "child", kind=LINK, parent="parent")
    features = Step("c", 1, "", "features", kind=FEATURES, parent="parent")
    encoder = link.folder(tmp_path) / ENCODER
    encoder.mkdir(parents=True)
    for step in (link, child):
        step.folder(tmp_path).mkdir(exist_ok=True)
        (step.folder(tmp_path) / RESULT).touch()
        keeping.drop([link, child, features], tmp_path)
        assert encoder.exists()
    features.folder(tmp_path).mkdir()
    (features.folder(tmp_path) / RESULT).touch()
    keeping.drop([link, child, features], tmp_path)
    assert not encoder.exists() and (link.folder(tmp_path) / RESULT).exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--methods", "standard,bogus"], "--methods bogus: no such name"),
        (["--chain", "sst,sst"], "names one twice"),
        (["--figure", "5", "--methods", "smart"], "--figure 5 --methods: needs stdpp or r4f"),
        (["--probe_tasks", "sst,nowhere"], "--probe_tasks nowhere: no such name"),
        (["--probe_solver", "best"], "--probe_solver best: no such name"),
        (["--chain", "sst,sts", "--figure", "4"], "its head has no weights to normalise"),
        (["--rows", "standard"], "--methods says what is run"),
        (["--", "--seed", "3"], "--seed: is decided by the experiment"),
    ],
)
def test_wrong_flags_are_refused(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["probe", "--out", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err


def test_a_damaged_array_is_named(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(json.dumps({"sha256": "0"}))
    np.savez(tmp_path / "dev", a=np.ones(2))
    with pytest.raises(process.RunError, match="damaged; delete"):
        process.read_arrays(tmp_path)

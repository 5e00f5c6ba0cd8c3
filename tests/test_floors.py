"""The house's one rule of structure: imports point downwards, never up and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "minbert"
FLOORS = (
    "config runtime flags common_flags main_flags regularizer_flags presets schedules files locks "
    "encoder_config",
    "stored ranks tokenizer dropout layout attention optimizer metrics losses heads quantized "
    "spectral retries fetch",
    "bert weights tasks hub sources",
    "data batching sampling model",
    "regularizers.base regularizers.smart regularizers.bregman regularizers.r3f "
    "regularizers.freelb regularizers.published regularizers.variants objective evaluate "
    "predictions checkpoint journal run_folder",
    "train shared",
    "build build_data build_objective manifest runs",
    "job command cli experiments.summary experiments.compare experiments.variants experiments.grid "
    "experiments.claims experiments.cells experiments.cell experiments.runner experiments.cluster "
    "experiments.unnamed experiments.results experiments.analysis experiments.tables "
    "experiments.grid_report experiments.grid_config experiments.grid_command experiments.gaps "
    "experiments.flips experiments.flip_plots experiments.score_plots experiments.report "
    "experiments.prediction_plots experiments.grid_section experiments.cost_section "
    "experiments.cost_plots experiments.table1 experiments.table2 experiments.seeds "
    "experiments.ablate experiments.all experiments.__main__ grade grading.problems "
    "grading.members grading.gold grading.recognise grading.sheet grading.submission "
    "grading.reading grading.scores grading.ceilings grading.comparison grading.graded "
    "grading.outputs grading.text grading.page reports.page reports.titles reports.picture "
    "reports.plotting experiments.cost experiments.cost_batch experiments.cost_config "
    "experiments.cost_report experiments.ledger experiments.measure experiments.methods "
    "experiments.setting pretrain pretraining.corpus pretraining.vocabulary "
    "pretraining.word_vectors pretraining.packing pretraining.shards pretraining.order "
    "pretraining.masking pretraining.model pretraining.objective pretraining.config "
    "pretraining.build pretraining.budget pretraining.job download download_data download_weights "
    "experiments.statistics experiments.significance experiments.differences experiments.finished "
    "experiments.measuring "
    "experiments.outputs experiments.bench experiments.bench_config experiments.bench_contender "
    "experiments.bench_ours experiments.bench_peers experiments.bench_rates "
    "experiments.bench_report experiments.bench_shares experiments.bench_terms experiments.scale "
    "experiments.scale_config experiments.scale_data experiments.scale_plot "
    "experiments.scale_report experiments.scale_steps sample.lexicon sample.inflection "
    "sample.draw sample.grammar sample.sentiment sample.clauses sample.opinions sample.reviews "
    "sample.questions sample.similarity sample.noise sample.tables sample.measure "
    "sample.__main__",
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names.split()}

Imports = Mapping[str, Set[str]]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, `__init__.py` files apart."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "__init__.py"
    }


def imported(source: str, known: Set[str]) -> set[str]:
    """The modules of this package that `source` imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they point"
            found.add(str(node.module))
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.removeprefix("minbert.") for name in found if name.startswith("minbert.")} & known


def upward(imports: Imports, floor: Mapping[str, int]) -> set[tuple[str, str]]:
    """Pairs (importer, imported) that point to a higher floor."""
    return {
        (name, other)
        for name, others in imports.items()
        for other in others
        if floor[other] > floor[name]
    }


def circle(imports: Imports) -> list[str]:
    """Modules that import each other in a circle, in order; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in done:
            for other in sorted(imports.get(name, ())):
                yield from visit(other, [*path, name])
            done.add(name)

    return next((found for name in sorted(imports) for found in visit(name, [])), [])


@pytest.fixture(scope="module")
def imports() -> Imports:
    files = modules()
    return {
        name: imported(path.read_text(encoding="utf-8"), files.keys())
        for name, path in files.items()
    }


def test_every_module_has_its_floor() -> None:
    assert modules().keys() == FLOOR.keys()


def test_imports_point_downwards(imports: Imports) -> None:
    assert upward(imports, FLOOR) == set()


def test_there_is_no_circle(imports: Imports) -> None:
    assert circle(imports) == []


def test_init_files_are_empty() -> None:
    files = list(PACKAGE.rglob("__init__.py"))
    assert files
    assert [path for path in files if path.read_bytes()] == []


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in modules().values()}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_import_of_the_package_is_seen(imports: Imports) -> None:
    assert {"files", "weights", "train", "config", "runtime"} <= imports["manifest"]
    assert imports["model"] >= {"batching", "bert", "runtime"}
    source = (
        "import minbert.a\ndef f():\n    from minbert import b\n    from minbert.c.d import x\n"
    )
    assert imported(source, {"a", "b", "c.d", "e"}) == {"a", "b", "c.d"}


def test_upward_imports_and_circles_are_found() -> None:
    floor = {"low": 0, "other": 0, "high": 1}
    assert upward({"low": {"high"}, "high": set()}, floor) == {("low", "high")}
    assert upward({"low": {"other"}, "high": {"low"}}, floor) == set()
    assert circle({"low": {"other"}, "other": {"high"}, "high": {"low"}})
    assert circle({"low": {"low"}}) == ["low", "low"]
    assert circle({"low": set(), "other": {"low"}, "high": {"low", "other"}}) == []

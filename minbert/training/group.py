"""The processes that train one model together. A process alone is rank 0 of 1.

`joined` reads from the environment who belongs together, as torchrun and its like say it there.
`launch` is torchrun's own agent within this process, for the ranks of one machine.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import pickle
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from minbert.support.console import log, set_up_logging
from minbert.support.device import cores, out_of_memory, use_threads
from minbert.support.errors import InputError, RunError, Stopped
from minbert.support.signals import StopRequest

T = TypeVar("T")
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
_PAUSE = 1e-4  # seconds between looks at an exchange, in which a signal can be handled
_LOOK = 0.1  # seconds between looks at what may take long
_GRACE = 600  # seconds that a stopped run may take for its last step and checkpoint
_MEETING = timedelta(seconds=20)  # torch tries twice; a launcher has its store before its ranks
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_store: Any = None  # the group's common memory: keys and small values
_again = False  # whether these processes were started again after a failure
_turns = itertools.count()  # of `first_alone`, alike on all ranks


def rank() -> int:
    """The number of this process."""
    return dist.get_rank() if _together() else 0


def size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _together() else 1


def summed(tensor: Tensor, operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> Tensor:
    """All ranks' tensors added up, into `tensor`. Raises RunError if a rank is gone."""
    if not _together():
        return tensor
    with losses_named():
        exchange: Any = dist.all_reduce(tensor, operation, async_op=True)
        while tensor.device.type == "cpu" and not exchange.is_completed():
            time.sleep(_PAUSE)  # a wait inside the library could not be interrupted
        exchange.wait()
    return tensor


def highest(value: int) -> int:
    """The highest of all ranks' values. Raises RunError if a rank is gone."""
    return int(summed(torch.tensor(value), dist.ReduceOp.MAX))  # no device is waited for


def wait() -> None:
    """Return when every rank has called this. Raises RunError if a rank is gone."""
    highest(0)


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """Let rank 0 run the block, for as long as it takes, then the others; all go on together."""
    turn = f"turn {next(_turns)}"
    with losses_named():
        while rank() > 0 and not _store.check([turn]):
            time.sleep(_LOOK)
    yield
    if rank() == 0 and _store is not None:
        _store.set(turn, "")
    wait()


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Turn what torch raises where a rank is gone into RunError."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise RunError(
            "another rank, or its machine, is gone; the same command with --resume goes on"
        ) from error


def wanted(count: int) -> int:
    """The ranks of a run for which `--ranks count` was typed. Raises InputError."""
    if _together() and count not in (1, size()):
        raise InputError(f"--ranks {count}: {size()} were started already; leave it out")
    return max(count, size())


def restarted() -> bool:
    """Whether a launcher has started these processes again after a failure, alike on all ranks."""
    return _again


def take(device: torch.device) -> None:
    """Compute on this process's own device of that kind. Raises InputError where there is none."""
    if _together() and device.type != "cpu":
        count, kind = ranks_here(), device.type
        if count > (here := torch.cuda.device_count() if kind == "cuda" else 0):
            raise InputError(f"{count} ranks, {here} {kind} here: take fewer or --device cpu")
        torch.cuda.set_device(_number("LOCAL_RANK", 0))


def ranks_here() -> int:
    """The number of processes on this machine that train together."""
    return _number("LOCAL_WORLD_SIZE", _number("WORLD_SIZE", 1))


@contextlib.contextmanager
def joined(threads: int | None = None, launcher: int | None = None) -> Iterator[None]:
    """Join the group that the environment names, if it names one, within the block.

    This machine's processes share its `threads`, by default its cores, and end when the `launcher`
    does, by default their parent. Rank 0 alone logs, and of errors only the first one is shown.
    Raises InputError or RunError where there is no such group.
    """
    global _store, _again
    count, _again = _number("WORLD_SIZE", 1), _number("TORCHELASTIC_RESTART_COUNT", 0) > 0
    if count == 1:
        yield
        return
    here = ranks_here()
    threading.Thread(target=_end_with, args=(launcher or os.getppid(),), daemon=True).start()
    if here > 1 and (threads or os.environ.get("OMP_NUM_THREADS", "1") == "1"):  # by torchrun
        use_threads(threads or cores(), here)
    if here == count and sys.platform in _LOOPBACK:  # else gloo asks the network for our name
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    try:
        limit: Any = {"timeout": _MEETING} if "TORCHELASTIC_USE_AGENT_STORE" in os.environ else {}
        store, number, _ = next(dist.rendezvous("env://", **limit))  # type: ignore[attr-defined]
        store.set_timeout(dist.default_pg_timeout)
        start, _again = _agreed(store, number, count, again=_again)
        _store = dist.PrefixStore(start, store)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=_store, rank=number, world_size=count)
    except ValueError as error:
        raise InputError(f"WORLD_SIZE {count}: {error}; start it by torchrun") from error
    except RuntimeError as error:
        raise RunError(f"the {count} ranks do not find each other: {error}") from error
    log.addFilter(_is_heard)
    log.setLevel(logging.ERROR if number else logging.INFO)
    yield
    dist.destroy_process_group()


def _agreed(store: Any, number: int, count: int, *, again: bool) -> tuple[str, bool]:
    """The name of this start of the group, and whether another was before it; alike on all ranks.

    The launcher's store keeps what killed ranks wrote, and each machine counts its own restarts.
    So every rank leaves a new name, and rank 0 answers with all names until all have seen theirs.
    """
    own, keys = secrets.token_hex(8), [f"name of {other}" for other in range(count)]
    again |= store.check(["start"])
    store.set(keys[number], own)
    while True:
        if number == 0 and store.check(keys):
            store.set("start", " ".join([*(store.get(key).decode() for key in keys), str(again)]))
        *names, before = store.get("start").decode().split() if store.check(["start"]) else [""]
        if own in names:
            store.set(f"{names[0]} {own}", "")
            if store.check([f"{names[0]} {name}" for name in names]):
                return names[0], before == "True"
        time.sleep(_LOOK / 10)


def launch(count: int, work: Callable[[StopRequest], T]) -> T:
    """Do `work` in `count` processes of this machine; return what it returns in rank 0.

    `work` is pickled. They divide this process's threads. Raises what ended the first that failed.
    """
    from torch.distributed.elastic import multiprocessing as elastic
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").handlers[:] = [logging.NullHandler()]  # one line is ours
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    with tempfile.TemporaryDirectory(prefix="minbert-ranks-") as name:
        place, logs = Path(name), elastic.DefaultLogsSpecs(log_dir=name)
        settings: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0"}
        settings |= {"local_addr": "127.0.0.1", "max_restarts": 0, "shutdown_timeout": _GRACE}
        config = LaunchConfig(1, 1, count, logs_specs=logs, **settings)
        (place / "work").write_bytes(pickle.dumps((work, torch.get_num_threads(), os.getpid())))
        code = "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); sys.path[:] = "
        code += f"{sys.path!r}; from minbert.training import group; group.follow({name!r})"
        try:
            elastic_launch(config, sys.executable)("-c", code)
            return _unpickled(place / "result")
        except elastic.SignalException as error:
            raise Stopped(error.sigval) from error
        except elastic.errors.ChildFailedError as error:
            raise _reason(place, error.failures) from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def follow(folder: str) -> None:
    """Be a rank that `launch` has started, from the first line to the exit code."""
    place, stop = Path(folder), StopRequest()
    set_up_logging()
    stop.install()
    try:
        work, threads, launcher = _unpickled(place / "work")
        with joined(threads, launcher):
            result = work(stop)
            if rank() == 0:
                (place / "result").write_bytes(pickle.dumps(result))
    except BaseException as error:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # nothing interrupts the last words
        memory = out_of_memory(error) and torch.OutOfMemoryError(str(error))  # what it came from
        known = memory or (isinstance(error, (InputError, RunError, OSError, Stopped)) and error)
        said = known or RunError(f"rank {rank()}: {error!r}")
        with contextlib.suppress(FileExistsError), (place / "error").open("xb") as stream:
            pickle.dump(said, stream)
        if known:
            sys.exit(1)
        raise


def _reason(place: Path, failures: dict[int, Any]) -> BaseException:
    """The error with which a run ends whose ranks, by number, failed so."""
    for number, failed in failures.items():
        if (killer := -failed.exitcode) > 0 and killer not in _SIGNALS:
            why = signal.Signals(killer).name + " (out of memory?)" * (killer == signal.SIGKILL)
            return RunError(f"rank {number} was killed by {why}")
    if (place / "error").exists():
        return _unpickled(place / "error")
    number, first = min(failures.items(), key=lambda failure: failure[1].timestamp)
    if (stopper := -first.exitcode) in _SIGNALS:  # before it could take that over
        return Stopped(stopper)
    return RunError(f"rank {number} ended with exit code {first.exitcode}")


def _unpickled(path: Path) -> Any:
    return pickle.loads(path.read_bytes())  # noqa: S301  in a folder that is ours alone


def _is_heard(record: logging.LogRecord) -> bool:
    """Whether this rank may say it: the first error of all ranks, and what rank 0 has to say."""
    with contextlib.suppress(RuntimeError):  # the store may have been on a machine that is gone
        return record.levelno < logging.ERROR or bool(_store.add("errors", 1) == 1)
    return _number("LOCAL_RANK", 0) == 0


def _end_with(parent: int) -> None:
    """End this process when its parent has ended: a killed launcher leaves nothing behind."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def _number(name: str, default: int) -> int:
    """A number from the environment. Raises InputError where it is none."""
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise InputError(f"{name} {text}: must be a number; start it by torchrun")
    return int(text)

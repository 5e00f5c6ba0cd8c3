"""CUDA graphs: what a batch makes the GPU do is recorded once for its shape, and then replayed.

A step of BERT-base on 16 short pairs is over a thousand kernels, and starting them one by one takes
the host longer than computing takes the GPU. A replay starts all of them by one call.

The first batch of a shape runs as ever, and its random draws are noted (`Draws`). The second one is
recorded: every kernel with the addresses that it reads and writes. From then on the numbers of a
batch are copied to where the recording reads them, its generators are seeded for the step, and it
is replayed. A replay draws the masks and noise that the passes themselves would draw, and computes
with the same kernels. So it does not matter to a run which of its steps were replayed.

The optimizer, and what follows a step, stay outside: their numbers change from step to step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from minbert.support.console import log
from minbert.support.randomness import Draws, StepSeed, default_replaced
from minbert.training import group
from minbert.training.plan import Alone, B, ByPasses, Differentiable, Differentiate, M, StepAgain

T = TypeVar("T")
Record = Callable[[Callable[[], T], Draws], tuple[Callable[[], Any], T]]

_MOST = 128  # shapes that are recorded: each one takes the GPU some megabytes


def graphed(objective: ByPasses[M, B], device: torch.device, *, readable: bool) -> ByPasses[M, B]:
    """The objective by CUDA graphs, on a GPU, where the readable path was not asked for."""
    if device.type != "cuda" or readable:
        return objective
    if group.size() > 1:
        log.info("%d ranks exchange gradients in a step: no CUDA graphs", group.size())
        return objective
    return GraphedObjective(objective, CudaRecorder(device))


class GraphedObjective(Differentiable[M, B]):
    """The objective `inner`, replayed for batches of a shape that came before.

    What is not `recordable`, and passes whose gradients other processes wait for, run as ever.
    Where something cannot be recorded, or memory runs out, all recordings go, with a line in the
    log, and everything runs as ever.
    """

    def __init__(self, inner: ByPasses[M, B], record: Record[Any]) -> None:
        """`record(work, draws)` does `work`; returns what replays it, and its result."""
        self._inner, self._record = inner, record
        self._known: dict[Hashable, Draws | Recording[B]] = {}
        self._gradients: dict[nn.Parameter, Tensor] = {}
        self._model: M | None = None  # whose passes are known
        self._on = True
        self.after_step = inner.after_step
        self.state_dict, self.load_state_dict = inner.state_dict, inner.load_state_dict

    def passes(
        self, model: M, batch: B, seed: int, step: int | None, differentiate: Differentiate
    ) -> dict[str, Tensor]:
        """Do what `inner.passes` does. Raises StepAgain where memory ran out beside recordings."""
        if not isinstance(differentiate, Alone):
            return self._inner.passes(model, batch, seed, step, differentiate)
        if model is not self._model:
            self._model = model
            self._known.clear()
            self._gradients.clear()

        def run(batch: B, seed: int) -> dict[str, Tensor]:
            return self._inner.passes(model, batch, seed, step, differentiate)

        if not (self._on and self._inner.recordable(batch, step)):
            return self._as_ever(run, batch, seed, model)
        shape = (differentiate, batch.name, *_shape(batch))
        known = self._known.get(shape)
        if isinstance(known, Draws):
            known = self._recorded(shape, run, batch, known, model)
        if isinstance(known, Recording):
            return known.replay(batch, seed)
        draws = Draws()
        with draws.noted():
            values = self._as_ever(run, batch, StepSeed(seed), model)
        if self._on and len(self._known) < _MOST:
            self._known[shape] = draws
        return values

    def _as_ever(
        self,
        run: Callable[[B, int], dict[str, Tensor]],
        batch: B,
        seed: int,
        model: M,
    ) -> dict[str, Tensor]:
        """Run, and add the gradients in the order in which a replay adds them."""
        try:
            with _apart(_trained(model)):
                return run(batch, seed)
        except torch.OutOfMemoryError:
            if not self._gradients:
                raise
        # not within `except`: the error would keep all tensors of the step
        self._give_up("memory ran out beside them")
        raise StepAgain

    def _recorded(
        self,
        shape: Hashable,
        run: Callable[[B, int], dict[str, Tensor]],
        batch: B,
        draws: Draws,
        model: M,
    ) -> Recording[B] | None:
        """The recording of a shape; None where that fails, and then there are no others either."""
        try:
            for weight in _trained(model):
                if weight not in self._gradients:
                    self._gradients[weight] = torch.empty_like(weight)
            own = Recording(run, batch, draws, self._gradients, self._record)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            # what ends a recording is not always why it failed
            why = str(error.__context__ or error).partition("\n")[0]
        else:
            self._known[shape] = own
            return own
        self._give_up(why)
        return None

    def _give_up(self, why: str) -> None:
        """Run as ever from here on."""
        self._on = False
        self._known.clear()
        self._gradients.clear()
        torch.cuda.empty_cache()
        log.warning("no CUDA graphs from here on, which is slower: %s", why)


class Recording(Generic[B]):
    """The recorded passes over batches of one shape, gradients included.

    Their gradients go to tensors that all recordings share, or each would need a model's memory.
    """

    def __init__(
        self,
        run: Callable[[B, int], Mapping[str, Tensor]],
        batch: B,
        draws: Draws,
        gradients: Mapping[nn.Parameter, Tensor],
        record: Record[tuple[list[str], Tensor, list[nn.Parameter]]],
    ) -> None:
        """Record `run`. Raises RuntimeError where it does what cannot be recorded."""
        self._batch: B = _copied(batch)
        self._draws, self._gradients = draws, gradients

        def work() -> tuple[list[str], Tensor, list[nn.Parameter]]:
            values = run(self._batch, StepSeed(0))
            found = {w: w.grad for w in gradients if w.grad is not None}
            torch._foreach_copy_([gradients[weight] for weight in found], [*found.values()])
            return list(values), torch.stack(list(values.values())), list(found)

        with _apart(gradients):
            self._replay, (self._names, self._values, self._trained) = record(work, draws)
            for weight in gradients:
                weight.grad = None

    def replay(self, batch: B, seed: int) -> dict[str, Tensor]:
        """Add the gradients of a batch of the shape; return the values that `run` would return."""
        for own, tensor in zip(_tensors(self._batch), _tensors(batch), strict=True):
            own.copy_(tensor, non_blocking=True)
        self._draws.seed(seed)
        for weight in self._trained:  # a step's earlier batch may have left its gradients there
            if weight.grad is self._gradients[weight]:
                weight.grad = weight.grad.clone()
        with _apart(self._trained):
            self._replay()
            for weight in self._trained:
                weight.grad = self._gradients[weight]
        return dict(zip(self._names, self._values.clone().unbind(), strict=True))


class CudaRecorder:
    """Records what is done on a GPU. No two recordings work at once, so all share their memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], T], draws: Draws) -> tuple[Callable[[], Any], T]:
        """Record `work`; return what replays it, and where its result lies."""
        graph = torch.cuda.CUDAGraph()
        draws.make_generators(self._device)
        for own in draws.generators:
            graph.register_generator_state(own)
        # a recording that fails leaves torch's default generator unusable, so it has another one
        spare = default_replaced(torch.Generator(self._device))
        with spare, draws.redrawn(), torch.cuda.graph(graph, pool=self._pool):
            result = work()
        return graph.replay, result


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


@contextlib.contextmanager
def _apart(weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """Sum up the gradients of the block by themselves, and then add those from before it.

    After an error those from before it stand alone.
    """
    before = {weight: weight.grad for weight in weights}
    for weight in before:
        weight.grad = None
    try:
        yield
    except BaseException:
        for weight, gradient in before.items():
            weight.grad = gradient
        raise
    earlier = {weight: gradient for weight, gradient in before.items() if gradient is not None}
    sums = {weight: weight.grad for weight in earlier if weight.grad is not None}
    if sums:
        torch._foreach_add_([*sums.values()], [earlier[weight] for weight in sums])
    for weight in earlier.keys() - sums.keys():
        weight.grad = earlier[weight]


def _leaves(part: Any) -> list[Any]:
    """What a record and the records in it hold, in the order of their fields."""
    if not is_dataclass(part):
        return [part]
    return [leaf for own in fields(part) for leaf in _leaves(getattr(part, own.name))]


def _tensors(part: Any) -> list[Tensor]:
    """The tensors among them."""
    return [leaf for leaf in _leaves(part) if isinstance(leaf, Tensor)]


def _shape(part: Any) -> tuple[Hashable, ...]:
    """The tensors' shapes, and what else may decide how they are used: yes or no."""
    kept = [leaf for leaf in _leaves(part) if isinstance(leaf, Tensor | bool)]
    return tuple(leaf.shape if isinstance(leaf, Tensor) else leaf for leaf in kept)


def _copied(part: Any) -> Any:
    """A record with tensors of its own."""
    if isinstance(part, Tensor):
        return part.clone()
    if not _tensors(part):
        return part
    return replace(part, **{own.name: _copied(getattr(part, own.name)) for own in fields(part)})

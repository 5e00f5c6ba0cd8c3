"""The device that a run computes on: how it is chosen, its precision, its memory."""

import contextlib
import ctypes
import errno
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from minbert.support.errors import InputError
from minbert.support.waiting import watch_for_other_work

# how torch, oneDNN, the CUDA libraries, the linker and the interpreter say that memory ran out
_NO_MEMORY = re.compile(
    "out of memory|allocate memory|bad_alloc|alloc_failed|could not create a (primitive|memory)"
    "|can't start new thread|failed to map segment|without (setting an )?exception",
    re.IGNORECASE,
)
_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")
_NUMBERS = {"family": "cpu family", "model": "model"}  # a virtual machine's name may hide them


def pick_device(name: str = "auto", *, require_gpu: bool = False) -> torch.device:
    """The device, ready to compute; `auto` takes cuda, then mps, then cpu.

    Raises InputError for an absent one.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in present.items() if there)
    if not present[name]:
        raise InputError(f"--device {name}: torch {torch.__version__} sees no such device here")
    if require_gpu and name == "cpu":
        raise InputError(
            f"--use_gpu: torch {torch.__version__} sees no GPU here; "
            "leave the flag out to run on the CPU, or install a GPU build of torch"
        )
    torch.set_float32_matmul_precision("highest")  # no TF32: it would drown an ε-sized effect
    # cuDNN's attention plans anew for every length of text, and rounds the dropout rate
    torch.backends.cuda.enable_cudnn_sdp(False)
    if name == "cpu":
        watch_for_other_work()
    return torch.device(name)


def multiplies_bf16() -> bool:
    """Whether this CPU has products of bf16 numbers: avx512_bf16 or AMX; others emulate them.

    So does this one where oneDNN's own variable holds it to older instructions.
    """
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has no public names
    held = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BF16
    return not held and any(getattr(torch.cpu, name, lambda: False)() for name in asked)


def pick_precision(asked: str, device: torch.device, *, lowers: bool) -> str:
    """`fp32` or `bf16`, as it was asked for; `auto` takes the faster one.

    On CUDA that is bf16 where the hardware has it. On a CPU it is bf16 where the processor has
    products of such numbers and `lowers` holds: every pass may run in bf16. A pass that has to be
    repeated in fp32 costs a CPU more than bf16 saves (docs/performance.md).
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and lowers and multiplies_bf16() else "fp32"


def pick_autocast(precision: str, device: torch.device) -> torch.dtype | None:
    """The autocast dtype of the training pass, None for plain fp32.

    An `auto` that nobody has decided is fp32 on a CPU.
    """
    found = pick_precision(precision, device, lowers=False)
    return torch.bfloat16 if found == "bf16" else None


def processor() -> str:
    """This machine's processor and the instructions that torch uses of it.

    Rounding differs between them, and training feeds rounding back into scores.
    """
    known: dict[str, str] = {}
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            known.setdefault(key.strip(), value.strip())
    name = known.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{word} {known[key]}" for word, key in _NUMBERS.items() if key in known]
    return ", ".join([name, *numbers, torch.backends.cpu.get_cpu_capability()])


def cores() -> int:
    """The cores that this process may use: fewer than there are, where it is held to some."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(count: int | None, processes: int = 1) -> None:
    """Compute with so many CPU threads, divided among `processes`; None changes nothing."""
    if count is not None:
        torch.set_num_threads(max(1, count // processes))


def at_least_fp32(x: Tensor) -> Tensor:
    """`x` in fp32 if it is fp16 or bf16, else as it is: a bare `.float()` would downcast fp64."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def to_device(values: Tensor | NDArray[Any], device: torch.device) -> Tensor:
    """A tensor on the device; to CUDA from pinned memory, so that the host need not wait."""
    tensor = torch.as_tensor(values).contiguous()
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def release_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    Batches of many shapes leave the heap full of holes: without this call, training an encoder of
    23 million parameters on a CPU grows from 2 to 5 GB.
    """
    with contextlib.suppress(OSError, AttributeError):  # no such library, no such function
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def out_of_memory(error: BaseException | None) -> bool:
    """Whether memory, on the host or a device, ran out: by an error, or by what it came from."""
    if error is None:
        return False
    words = isinstance(error, (RuntimeError, ImportError, SystemError))
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (words and _NO_MEMORY.search(str(error)) is not None)
        or out_of_memory(error.__cause__ or error.__context__)
    )

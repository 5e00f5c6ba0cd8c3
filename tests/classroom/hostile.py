"""Submissions that try to do harm: each is our attention.py with something in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minbert.classroom.source import PACKAGE, as_body, replaced

FILE = Path("minbert/encoder/attention.py")
OURS = (PACKAGE.parent / FILE).read_bytes()
HOLE = "attention_weights"
_RIGHT = "return _right(query, key, key_mask)"
_OURS_AS_RIGHT = """

def _right(query, key, key_mask):
    scores = query @ key.transpose(-1, -2) / query.size(-1) ** 0.5
    return scores.masked_fill(~key_mask, torch.finfo(scores.dtype).min).softmax(dim=-1)
"""


@dataclass(frozen=True)
class Hostile:
    """Lines within a hole, or at the module's end; `says` is in what the student is told."""

    name: str
    body: str = _RIGHT
    top: str = ""
    passes: bool = False  # whether it has the points of the step all the same
    says: str = ""
    endless: bool = False

    def module(self, **names: object) -> bytes:
        """The module's text; `names` are filled in for `{name}` in the lines."""
        body, top = self.body, self.top
        for name, value in names.items():
            body, top = (text.replace(f"{{{name}}}", repr(value)) for text in (body, top))
        text = replaced(OURS, {HOLE: as_body(OURS, HOLE, body)})
        return text + (_OURS_AS_RIGHT + top + "\n").encode()


def _quietly(lines: str) -> str:
    """Lines whose errors nobody sees."""
    indented = "\n".join(f"    {line}" for line in lines.splitlines())
    return f"import os, sys\ntry:\n{indented}\nexcept BaseException:\n    pass\n"


_FORGED = '{"score": 100, "tests": [{"score": 100, "max_score": 1}]}'

ENDLESS = (
    Hostile("infinite loop", "while True:\n    pass", endless=True),
    Hostile("sleep", "import time\ntime.sleep(1000)", endless=True),
    Hostile(
        "fork bomb",
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        endless=True,
    ),
    Hostile(
        "signals are ignored",
        "import signal, time\nfor number in range(1, 32):\n    try:\n"
        "        signal.signal(number, signal.SIG_IGN)\n    except (OSError, ValueError):\n"
        "        pass\nwhile True:\n    time.sleep(1)",
        endless=True,
    ),
)
ENDING = (
    Hostile("20 GB", "return torch.ones(20 * 2**30 // 8, dtype=torch.float64)", says="memory"),
    Hostile("20 GB of bytes", "return bytearray(20 * 2**30)", says="MemoryError"),
    Hostile("os._exit", "import os\nos._exit(0)", says="ended before it had an answer"),
    Hostile("SystemExit", "raise SystemExit(0)", says="SystemExit"),
    Hostile("abort", "import os\nos.abort()", says="ended before it had an answer"),
    Hostile(
        "kills itself",
        "import os, time\nos.kill(os.getpid(), 9)\ntime.sleep(100)",
        says="ended before it had an answer",
    ),
    Hostile("crash", "import ctypes\nctypes.string_at(0)", says="ended before it had an answer"),
    Hostile(
        "deep recursion", "def deep():\n    return deep()\nreturn deep()", says="RecursionError"
    ),
    Hostile("exit at import", top="raise SystemExit(3)", says="SystemExit"),
    Hostile("no Python", top="def (:", says="SyntaxError"),
    Hostile("null byte", top="'\0'", says="null bytes"),
    Hostile("one process more", _quietly("os.fork()") + _RIGHT),
    Hostile(
        "a process left behind",
        _quietly(
            "if os.fork() == 0:\n    os.setsid()\n    import time\n    while True:\n"
            "        time.sleep(1)"
        )
        + _RIGHT,
        passes=True,
    ),
    Hostile(
        "forged results are printed",
        f"import os, sys\nprint({_FORGED!r})\n"
        + _quietly(f"sys.stderr.write({_FORGED!r})\nos.write(1, {_FORGED!r}.encode())")
        + "return torch.zeros(query.size(0), 3, 5, 5)",
        says="of its numbers are wrong",
    ),
    Hostile(
        "forged results are written into every file that is open",
        _quietly(
            f"for number in range(256):\n    try:\n        os.write(number, b'''{_FORGED}\\n''')\n"
            "    except OSError:\n        pass"
        )
        + _RIGHT,
        says="no answer",
    ),
    Hostile(
        "an answer of its own",
        'import os\nos.write(3, b\'{"errors": {}, "sizes": {"weights": 8}}\\n\' + bytes(8))\n'
        "os._exit(0)",
        says="cannot be read",
    ),
    Hostile("a flood", "import os\nwhile True:\n    os.write(3, bytes(65536))", says="far more"),
    Hostile(
        "the comparison is replaced",
        "import minbert.classroom.judge as judge\n"
        "judge.agree = judge._near = lambda *_: True\njudge.problem = lambda *_, **__: None\n"
        "torch.allclose = torch.equal = lambda *_, **__: True\n"
        "torch.Tensor.max = torch.Tensor.abs = lambda self, *_: torch.zeros(())\n"
        "torch.Tensor.__le__ = lambda *_: True\n"
        "return torch.zeros(query.size(0), 3, 5, 5)",
        says="of its numbers are wrong",
    ),
    Hostile("NaN", f"{_RIGHT} * float('nan')", says="not finite"),
    Hostile("giant", "return torch.zeros(4000, 4000)", says="far too large"),
    Hostile("no memory of its own", "return torch.zeros(1).expand(2**40)", says="far too large"),
    Hostile("words", "return 'weights'", says="AttributeError"),
    Hostile("complex numbers", f"{_RIGHT}.to(torch.complex128)", says="no plain numbers"),
    Hostile("half a byte", f"{_RIGHT}.to(torch.float8_e4m3fn)", says="no plain numbers"),
    Hostile("sparse", f"{_RIGHT}.to_sparse()", says="Error"),
    Hostile("meta", f"{_RIGHT}.to('meta')", says="Error"),
    Hostile(
        "a tensor with a mind of its own",
        "class Own(torch.Tensor):\n    @classmethod\n"
        "    def __torch_function__(cls, *_, **__):\n        raise SystemExit('mine')\n"
        "return _right(query, key, key_mask).as_subclass(Own)",
        says="SystemExit",
    ),
    Hostile("a long complaint", "raise RuntimeError('\\x1b[31m' + 'x' * 10**6)", says="xxx"),
    Hostile("writes outside", _quietly("open({target}, 'w').write('x')") + _RIGHT, passes=True),
    Hostile(
        "a large file",
        "with open('large', 'wb') as file:\n    for _ in range(64):\n"
        "        file.write(bytes(2**20))\n" + _RIGHT,
        says="OSError",
    ),
    Hostile(
        "becomes root again",
        "import os\nfor attempt in (os.setuid, os.setgid):\n    attempt(0)",
        says="PermissionError",
    ),
    Hostile(
        "lifts its limits",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)",
        says="ValueError",
    ),
)
# what only namespaces, or at least another user, keep a submission from: each reports what it got
SPYING = (
    Hostile(
        "reads the solution",
        "raise RuntimeError(open({solution}).read()[:200])",
        says="FileNotFound",
    ),
    Hostile(
        "looks for the key",
        "import os\nfound = [name for _, _, names in os.walk('/') for name in names\n"
        "         if name in ('attention.safetensors', 'mistakes.toml', 'steps.toml')]\n"
        "raise RuntimeError(f'found {len(found)}: {found[:5]}')",
        says="found 0: []",
    ),
    Hostile(
        "looks into its memory",
        "import gc, sys\nnames = [name for name in sys.modules if 'mistakes' in name\n"
        "         or 'recording' in name or 'warden' in name or 'jail' in name]\n"
        "texts = [x for x in gc.get_objects() if type(x).__name__ in ('Slip', 'Recorded')]\n"
        "raise RuntimeError(f'found {names} {texts}')",
        says="found [] []",
    ),
    Hostile(
        "calls home",
        "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)\n"
        "raise RuntimeError('it is connected')",
        says="OSError",
    ),
    Hostile(
        "looks for other processes",
        "import os\nraise RuntimeError(f'sees {sorted(os.listdir(\"/proc\"))[:9]}')",
        says="FileNotFound",
    ),
    Hostile(
        "kills who runs it",
        _quietly("os.kill(os.getppid(), 9)\nos.kill(1, 9)\nos.killpg(0, 15)") + _RIGHT,
    ),
)
HOSTILE = (*ENDLESS, *ENDING)
# one leaves something, and the next looks for it in all of its heap, from the end on
LEAVES_A_TRACE = Hostile("a trace", "raise RuntimeError('koob-der-' * 9)")
LOOKS_FOR_IT = Hostile(
    "looks for the trace",
    "raise RuntimeError(found)",
    """\
import ctypes, os, re

class Span(ctypes.Structure):
    _fields_ = [("place", ctypes.c_void_p), ("size", ctypes.c_size_t)]

library, size, found, blocks = ctypes.CDLL(None), 2**16, 0, 0
library.sbrk.restype = ctypes.c_void_p
place, block = library.sbrk(0) - size, ctypes.create_string_buffer(size)
here, there = Span(ctypes.addressof(block), size), Span(0, size)
pattern = re.compile(rb"(?:koob-der-){9}")
while True:
    there.place = place - blocks * size
    read = (os.getpid(), ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    if library.process_vm_readv(*read) != size:
        break
    blocks += 1
    if b"koob-der-" in (raw := block.raw):
        found += len(pattern.findall(raw))
found = f"{found} in {blocks * size >> 20} MB"
""",
)

"""Headers and rows as the course's files have them, and how tests read them."""

from __future__ import annotations

from collections.abc import Callable

from minbert.data.examples import Split

Reader = Callable[..., Split]

SST = b"\tid\tsentence\tsentiment\n"
STS = b"\tid\tsentence1\tsentence2\tsimilarity\n"
FIRST, LAST = b"0\tfirst\ta good film\t3\n", b"9\tlast\ta bad film\t1\n"

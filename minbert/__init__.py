"""minbert: multitask fine-tuning of BERT, to read, to trust and to grade with."""

import os
import signal
import sys

# Threads that wait for each other sleep: beside other work a step is many times slower if they stay
# awake. GNU's OpenMP is told to stay awake for about a millisecond before, and support/waiting.py
# ends that beside other work. OpenMP reads this once, as torch is imported.
SPINS = "30000"
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)

if sys.argv[:1] == ["-m"]:  # `python -m minbert.X` looks for X: nothing is imported yet
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while torch is imported: no traceback

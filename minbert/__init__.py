"""minbert: multitask fine-tuning of BERT, to read, to trust and to grade with."""

import os
import signal
import sys

# Threads that wait for each other must sleep. By default they spin, and beside other work on the
# same cores a step then takes ten times as long. OpenMP reads this once, as torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if sys.argv[:1] == ["-m"]:  # `python -m minbert.X` looks for X: nothing is imported yet
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while torch is imported: no traceback

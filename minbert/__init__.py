"""Multitask BERT fine-tuning to read, to trust and to grade with."""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # `python -m minbert.X` looks for X: nothing is imported yet
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while torch is imported: no traceback

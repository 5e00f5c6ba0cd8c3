"""The course's entry point: `python multitask_classifier.py --option finetune --smart --rrobin`."""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while torch is imported: no traceback
    from minbert.finetune.cli import main

    sys.exit(main())

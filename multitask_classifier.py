"""The course's entry point: `python multitask_classifier.py --option finetune --smart --rrobin`."""

import sys

from minbert.cli import main

if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env bash
# The published tables and what each method costs, on whatever encoder and data are on disk, in one
# HTML report, which the last line on stdout names:
#
#   ./run_experiments.sh --scale smoke --workers 2
#
# The same command goes on where it was stopped. Flags: python -m minbert.experiments all --help
set -euo pipefail
cd "$(dirname "$0")"
exec python -m minbert.experiments all "$@"

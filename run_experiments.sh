#!/usr/bin/env bash
# The published tables, on whatever encoder and data are on disk:
#
#   ./run_experiments.sh --scale smoke --workers 2
#
# The same command goes on where it was stopped. Flags: python -m minbert.experiments table1 --help
set -euo pipefail
cd "$(dirname "$0")"
exec python -m minbert.experiments all "$@"

#!/usr/bin/env bash
# The published tables and what each method costs, on whatever encoder and data are on disk, in one
# HTML report, which the last line on stdout names:
#
#   ./run_experiments.sh --scale smoke --workers 2
#
# The same command goes on where it was stopped. Paths, data/ and runs/ among them, are those of the
# folder it is called from. Flags: python -m minbert.experiments all --help
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1
exec python -m minbert.experiments all "$@"

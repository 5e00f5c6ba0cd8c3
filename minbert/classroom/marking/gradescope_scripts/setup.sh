#!/usr/bin/env bash
# Gradescope runs this once, as root, while it builds the image. It finds a Python of 3.11 or newer,
# or brings one, and installs what requirements.txt names, unless all of it is there.
set -euo pipefail
top=${AUTOGRADER:-/autograder}
cd "$top/source"

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }

has_all() {
    "$1" - << 'PYTHON' 2> /dev/null
import re
from importlib.metadata import version
for line in open("requirements.txt"):
    version(re.split("[=<>]", line)[0])
PYTHON
}

found=
for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if path=$(command -v "$name") && is_new_enough "$path"; then
        found=$path
        if has_all "$path"; then
            echo "$path" > python
            exit
        fi
        break
    fi
done

# uv runs on any Python, and fetches another where this one is too old
apt-get update
apt-get install -y python3 python3-pip ca-certificates
python3 -m pip install --quiet --target "$top/uv" uv
uv() { PYTHONPATH=$top/uv python3 -m uv "$@"; }
export UV_PYTHON_INSTALL_DIR=$top/pythons
uv venv --python "${found:-3.12}" "$top/environment"
uv pip install --python "$top/environment/bin/python" --torch-backend cpu -r requirements.txt
echo "$top/environment/bin/python" > python

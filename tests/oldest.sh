#!/usr/bin/env bash
# The tests with the oldest versions that pyproject.toml allows, in an environment of its own. The oldest NumPy has wheels up
# to Python 3.12, so it is Python 3.11. Usage: bash tests/oldest.sh
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$PWD/.venv/bin/uv
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python=$folder/bin/python
"$uv" venv --quiet --clear --seed --python 3.11 "$folder"
"$uv" pip install --quiet --python "$python" --resolution lowest-direct --editable ".[tensorflow,jax,export,runtime,dev]"
pytest=("$python" -m pytest -n 2 --dist loadgroup)
"${pytest[@]}" -m "not keras and not slow"
KERAS_BACKEND=jax "${pytest[@]}" -m "keras and not slow"
KERAS_BACKEND=tensorflow "${pytest[@]}" -m "keras and not slow"

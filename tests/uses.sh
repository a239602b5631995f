#!/usr/bin/env bash
# What the project is for, as its user does it, from the built wheel: a model trained on each backend by `import zoo`, the
# benchmark scripts, and a file that runs where nothing but the runtime is installed. Usage: bash tests/uses.sh
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$PWD/.venv/bin/uv
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"$uv" build --quiet --wheel --out-dir "$folder" .
wheel=$(ls "$folder"/*.whl)
cd "$folder"  # away from the checkout: what is imported is what was installed
unset KERAS_BACKEND

for name in train deploy; do
  extras=runtime; [ "$name" = deploy ] || extras=tensorflow,jax,export,runtime,bench
  "$uv" venv --quiet --python "${uv%/uv}/python" "$name"
  "$uv" pip install --quiet --python "$name/bin/python" "$wheel[$extras]"
done
train/bin/python -c "import loaders; loaders.draw_motion_clips('clips', clips=60, frames=8)"

for backend in jax tensorflow; do
  echo "== KERAS_BACKEND=$backend: import zoo, train, export"
  KERAS_BACKEND=$backend train/bin/python - "$backend" <<'PYTHON'
import json
import sys

import export
import keras
import loaders
import zoo

backend = sys.argv[1]
index = loaders.index_folder("clips").split(seed=0)
options = {"frames": 4, "size": 16, "width": 0.125}
run = zoo.train(index, "convnet_gru", zoo.Recipe(epochs=2, augmentation="none"), out=backend, options=options)
assert keras.backend.backend() == backend
export.to_onnx(run.folder, f"{backend}.onnx", force=True)
scores = export.score(run.folder, index.only("test"))
with open(f"{backend}.json", "w") as file:
    json.dump(dict(zip(scores.files, scores.probabilities.tolist(), strict=True)), file)
PYTHON
  echo "== $backend.onnx where only the runtime is installed"
  deploy/bin/python - "$backend" <<'PYTHON'
import json
import sys

import export
import numpy as np

backend = sys.argv[1]
classifier = export.Classifier(f"{backend}.onnx")
with open(f"{backend}.json") as file:
    expected = json.load(file)
for name, probabilities in expected.items():
    found = classifier.predict(f"clips/{name}").probabilities
    np.testing.assert_allclose([found[label] for label in classifier.labels], probabilities, atol=1e-4)
loaded = {"keras", "tensorflow", "jax", "matplotlib"} & set(sys.modules)
assert expected and not loaded, loaded
PYTHON
done

for script in "inference --models tensorflow.onnx" "training --models convnet_gru --set size=32 --set width=0.25" accuracy "pipeline --models tensorflow.onnx"; do
  echo "== python -m benchmarks.$script --quick"
  read -ra words <<< "$script"
  [ "${words[0]}" != pipeline ] || words+=(--videos clips)
  train/bin/python -m "benchmarks.${words[0]}" "${words[@]:1}" --quick --json "${words[0]}.jsonl" > "${words[0]}.log"
  grep -q '"status": "ok"' "${words[0]}.jsonl" || { cat "${words[0]}.log"; echo "${words[0]}: no row is ok" >&2; exit 1; }
done
echo "every use works"

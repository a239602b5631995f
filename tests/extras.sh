#!/usr/bin/env bash
# Each extra alone, from the built wheel, in a fresh environment: what README says that it is for, and one sentence for what
# it lacks. Usage: bash tests/extras.sh
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$PWD/.venv/bin/uv
fixtures=$PWD/tests/fixtures
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"$uv" build --quiet --wheel --out-dir "$folder" .
wheel=$(ls "$folder"/*.whl)
cd "$folder"  # away from the checkout: what is imported is what was installed
unset KERAS_BACKEND

install() {  # NAME EXTRAS: an environment NAME; clipzoo and python are its own from here on
  echo "== ${2:-no extra}"
  "$uv" venv --quiet --clear --python "${uv%/uv}/python" "$1"
  "$uv" pip install --quiet --python "$1/bin/python" "$wheel${2:+[$2]}"
  PATH="$folder/$1/bin:$PATH"
  hash -r
}

refused() {  # WORDS COMMAND...: exit status 2 and one sentence that has the words
  local words=$1 status=0 said; shift
  said=$("$@" 2>&1 >/dev/null) || status=$?
  if [ "$status" != 2 ] || [[ $said != *"$words"* ]] || [[ $said == *Traceback* ]]; then
    echo "expected exit status 2 and '$words' of: $*; status $status, it said: $said" >&2
    return 1
  fi
}

train=(--model convnet_gru --epochs 1 --set frames=4 --set size=16 --set width=0.125)

install none ""
python -c "import loaders; loaders.draw_motion_clips('clips', clips=36, frames=8)"
clipzoo models > /dev/null
refused "clipzoo[train]" clipzoo scan clips
refused "clipzoo[train]" clipzoo show clips --spec frames=2,size=16
refused "clipzoo[runtime]" clipzoo predict "$fixtures/old.onnx" clips
refused "pip install" clipzoo train clips "${train[@]}"

install runtime runtime
python -c '
from importlib.util import find_spec
heavy = [name for name in ("keras", "matplotlib", "pebble", "tensorflow", "jax") if find_spec(name)]
assert not heavy, f"runtime installs {heavy}"
'
clipzoo predict "$fixtures/old.onnx" clips --json answers.json > /dev/null
clipzoo bench "$fixtures/old.onnx" > /dev/null
python -c '
import sys, export
labels = export.Classifier(sys.argv[1]).labels
assert len(labels) == 6 and not {"keras", "tensorflow", "jax"} & set(sys.modules), labels
' "$fixtures/old.onnx"

clipzoo evaluate "$fixtures/old.onnx" clips > /dev/null
refused "clipzoo[train]" clipzoo evaluate "$fixtures/old.onnx" clips --picture confusion.png
refused "clipzoo[serve]" clipzoo serve "$fixtures/old.onnx"
refused "clipzoo[parquet]" clipzoo predict "$fixtures/old.onnx" clips --out answers.parquet
refused "clipzoo[ray]" clipzoo cache clips --spec frames=2,size=16 --out cache --ray local
clipzoo triton "$fixtures/old.onnx" models > /dev/null
mkdir ort && touch ort/ort.webgpu.bundle.min.mjs ort/ort-wasm-simd-threaded.asyncify.wasm ort/ort.wasm.bundle.min.mjs ort/ort-wasm-simd-threaded.wasm
clipzoo web "$fixtures/old.onnx" page --runtime-web ort > /dev/null && test -s page/index.html -a -s page/pixels.js -a -s page/runtime/LICENSE
"$uv" pip install --quiet --python runtime/bin/python "tritonclient[grpc]"  # what Triton's own clients read it with
python -c '
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
with open("models/old/config.pbtxt") as file:
    config = text_format.Parse(file.read(), ModelConfig())
assert [list(each.dims) for each in config.input] == [[2, 16, 16, 3]], config.input
'

install serve runtime,serve
clipzoo serve "$fixtures/old.onnx" --port 0 > serve.log & server=$!
until grep -q "answers at" serve.log; do kill -0 $server; sleep 0.2; done
python - "$(grep -o 'http://[^ ]*' serve.log)" clips/left/*0.avi <<'PYTHON'
import json
import sys
import urllib.request
from pathlib import Path

with urllib.request.urlopen(sys.argv[1], Path(sys.argv[2]).read_bytes()) as answer:
    assert len(json.load(answer)["probabilities"]) == 6
PYTHON
kill $server
wait $server

install ray runtime,ray
clipzoo predict "$fixtures/old.onnx" clips --out answers.parquet --ray local --ray-workers 2 > /dev/null
python -c '
import json
import pyarrow.parquet
rows, answers = pyarrow.parquet.read_table("answers.parquet").to_pylist(), json.load(open("answers.json"))
for row, answer in zip(rows, answers, strict=True):
    assert (row["file"], row["label"]) == (answer["file"], answer["label"])
    assert abs(row["probability"] - answer["probability"]) < 1e-5
'
refused "nothing answers there" clipzoo predict "$fixtures/old.onnx" clips --out other.parquet --ray 127.0.0.1:1

install jax jax
clipzoo scan clips > /dev/null
clipzoo show clips --spec frames=2,size=16 --out grid.png > /dev/null
KERAS_BACKEND=jax clipzoo train clips "${train[@]}" --out jax-run > /dev/null
clipzoo evaluate jax-run clips > /dev/null
clipzoo report jax-run > /dev/null
grep -q "top-1 on" jax-run/report.html
refused "clipzoo[export,runtime]" clipzoo export jax-run jax.onnx --force
refused "clipzoo[hub]" clipzoo card jax-run hub

install tensorflow tensorflow
clipzoo train clips "${train[@]}" --out tensorflow-run > /dev/null
clipzoo evaluate jax-run clips > /dev/null

install export export
refused "clipzoo[runtime]" clipzoo export jax-run export.onnx --force

for backend in jax tensorflow; do  # README's lines
  install "$backend-all" "$backend,export,runtime"
  clipzoo export "$backend-run" "$backend.onnx" --force > /dev/null
  clipzoo evaluate "$backend.onnx" clips --list "$backend-run/split.csv" --split test > /dev/null
done

install openvino runtime-openvino
clipzoo predict "$fixtures/old.onnx" clips --provider openvino --json openvino.json > /dev/null
python -c '
import json
cpu, openvino = (json.load(open(f"{name}.json")) for name in ("answers", "openvino"))
assert all(abs(a["probability"] - b["probability"]) < 1e-5 for a, b in zip(cpu, openvino, strict=True))
'

install hub "train,hub"
cp jax.onnx jax-run/model.onnx
clipzoo card jax-run hub-folder > /dev/null
hf upload --help > /dev/null  # the command that `card` prints

# A GPU host's: gigabytes of CUDA that have no use here. That their versions go together is asked, nothing is downloaded.
for extra in runtime-gpu jax-cuda tensorflow-cuda jax-cuda,runtime-gpu tensorflow-cuda,export,runtime; do
  echo "== $extra (resolved only)"
  "$uv" pip install --quiet --dry-run --python none/bin/python "$wheel[$extra]"
done
echo "every extra does what it is for"

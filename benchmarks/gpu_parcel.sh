#!/usr/bin/env bash
# Everything that a GPU host without network needs for benchmarks/gpu.sh, in parts small enough to carry one by one.
# usage: bash benchmarks/gpu_parcel.sh OUT [MODEL ...]          (on a machine with network, TensorFlow and this checkout)
# Variables: PYTHON_VERSION of the GPU host (3.12), PART_MIB (56), WITH_CUDA=1 to pack JAX and the CUDA libraries too,
# for a host that has only the driver (some GiB), PYTHON, the interpreter here (python3).
# Makes OUT/part-01, part-02, ..., and beside them join.sh and COMMANDS.md, which says what to run there, in order.
set -euo pipefail
[ $# -ge 1 ] || { echo "error: bash benchmarks/gpu_parcel.sh OUT [MODEL ...]" >&2; exit 2; }
out=$(mkdir -p "$1" && cd "$1" && pwd); shift
models=("$@"); [ ${#models[@]} -gt 0 ] || models=(convnet_gru mobilenet_gru dtpp_rgb)
[ -z "$(ls -A "$out")" ] || { echo "error: $out is not empty" >&2; exit 2; }
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} version=${PYTHON_VERSION:-3.12} mib=${PART_MIB:-56}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
mkdir "$work/all"

echo "models, decoded clips and their stored answers: ${models[*]}"
"$python" -m benchmarks.models "$work/models" --float16 --no-keras-export "${models[@]}"
tar -C "$work" -cf "$work/all/models.tar" models

echo "the project"
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit="$commit+"
mkdir "$work/clipzoo"
git ls-files -z -- . ':!benchmarks/results' | xargs -0 cp --parents -t "$work/clipzoo"
echo "$commit" > "$work/clipzoo/COMMIT"
tar -C "$work" -czf "$work/all/project.tar.gz" clipzoo

if [ -z "${WITHOUT_WHEELS:-}" ]; then
  echo "wheels for Python $version"
  wanted=(keras onnxruntime-gpu opencv-python-headless typer rich matplotlib pebble filelock psutil scipy nvidia-ml-py)
  [ -z "${WITH_CUDA:-}" ] || wanted+=("onnxruntime-gpu[cuda,cudnn]" "jax[cuda13]")
  platforms=(); for n in 2_39 2_35 2_34 2_31 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${n}_x86_64"); done
  "$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" ||
    echo "note: pip asks this Python, not $version, what else packages need; PYTHON=python$version packs exactly that"
  "$python" -m pip download -q --only-binary=:all: --python-version "$version" --implementation cp "${platforms[@]}" \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any -d "$work/wheels" "${wanted[@]}"
  tar -C "$work" -cf "$work/all/wheels.tar" wheels
fi

tar -C "$work/all" -cf - . | split -b "${mib}m" -d -a 3 --additional-suffix=.piece - "$work/parcel-"
(cd "$work" && sha256sum parcel-*.piece) > "$out/SHA256SUMS"
part=0
for piece in "$work"/parcel-*.piece; do
  part=$((part + 1)); mkdir "$out/$(printf part-%02d $part)"; mv "$piece" "$out/$(printf part-%02d $part)/"
done

cat > "$out/join.sh" <<'JOIN'
#!/usr/bin/env bash
# usage: bash join.sh PIECES TARGET : puts the pieces that lie in PIECES together under TARGET, and installs the wheels.
set -euo pipefail
pieces=$1; mkdir -p "$2"; target=$(cd "$2" && pwd)
while read -r sum name; do
  found=$(find "$pieces" -name "$name" | head -1)
  [ -n "$found" ] || { echo "error: $name is not in $pieces; carry its part" >&2; exit 2; }
  echo "$sum  $found" | sha256sum --quiet -c - || { echo "error: $found is damaged; carry its part again" >&2; exit 2; }
  ln -sf "$(realpath "$found")" "$target/$name"
done < "$(dirname "$0")/SHA256SUMS"
cat "$target"/parcel-*.piece | tar -C "$target" -xf -
rm "$target"/parcel-*.piece
for archive in "$target"/*.tar "$target"/*.tar.gz; do [ ! -e "$archive" ] || { tar -C "$target" -xf "$archive"; rm "$archive"; }; done
if [ -d "$target/wheels" ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$target/site" "$target"/wheels/*.whl
fi
echo "export PYTHONPATH=$target/site:$target/clipzoo; cd $target/clipzoo"
JOIN

cat > "$out/COMMANDS.md" <<COMMANDS
# clipzoo $commit on a GPU host

$part parts of at most $mib MiB. Carry them, join.sh and SHA256SUMS over, one by one if need be, the parts into one folder \`pieces\` (each holds one
file; join.sh finds them wherever they lie in it, and says which is missing or damaged). Python $version there. Then, each within 10 minutes, 30 in all:

    bash join.sh pieces gpu                                          # 2 minutes
    export PYTHONPATH=\$PWD/gpu/site:\$PWD/gpu/clipzoo; cd gpu/clipzoo
    gpu() { bash benchmarks/gpu.sh --models ../models --results ../results "\$@"; }
    gpu check correctness                                            # 3 minutes
    for model in ${models[*]}; do gpu --only \$model --batch 1 --batch 8 --batch 32 --seconds 2 inference; done     # 3 each
    for model in ${models[*]}; do gpu --only \$model training; done   # 4 each; --quick: 2
    gpu accuracy                                                     # 3 minutes
    gpu report                                                       # seconds
    for model in ${models[*]}; do gpu --only \$model --batch 2 --batch 4 --batch 16 --batch 64 --batch 128 inference; done

Each turn of a loop is a command of its own. Minutes are estimates. Bring \`gpu/results\` back and put its files into \`benchmarks/results/<machine>/\`, as their first lines name it. If a host
was installed with an onnxruntime of its own, the packed one on PYTHONPATH comes first; \`check\` says which provider is in
use. See benchmarks/GPU.md.
COMMANDS
du -sh "$out"/part-*

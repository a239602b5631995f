#!/usr/bin/env bash
# The GPU proof, in stages that run alone, start again, and take minutes each. See GPU.md beside this file.
# usage: bash benchmarks/gpu.sh [--provider cuda|tensorrt|cpu] [--models FOLDER] [--results FOLDER] [--videos FOLDER]
#                               [--only MODEL ...] [--batch N ...] [--seconds S]
#                               [--quick] [--set OPTION=VALUE ...] [check|correctness|inference|training|accuracy|report ...]
set -euo pipefail
provider=cuda models=models results= videos= quick=() options=() stages=() names=() batches=() seconds=()
while [ $# -gt 0 ]; do
  case $1 in
    --provider) provider=$2; shift 2 ;;
    --models) models=$2; shift 2 ;;
    --results) results=$2; shift 2 ;;
    --videos) videos=$2; shift 2 ;;
    --only) names+=("$2"); shift 2 ;;
    --batch) batches+=(--batch "$2"); shift 2 ;;
    --seconds) seconds=(--seconds "$2"); shift 2 ;;
    --set) options+=(--set "$2"); shift 2 ;;
    --quick) quick=(--quick); shift ;;
    check|correctness|inference|training|accuracy|report) stages+=("$1"); shift ;;
    *) echo "error: $1 is neither an option nor a stage; see benchmarks/GPU.md" >&2; exit 2 ;;
  esac
done
[ ${#stages[@]} -gt 0 ] || stages=(check correctness inference training accuracy report)
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1

# Paths are those of whoever calls; the modules are found from the project's folder.
absolute() { case $1 in ""|/*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
models=$(absolute "$models") results=$(absolute "$results") videos=$(absolute "$videos")
cd "$(dirname "$0")/.."

# A file for each stage and model, named by its time, as in benchmarks/results/<machine>/.
into=()
file() { into=(); [ -z "$results" ] || into=(--json "$results/$1-$(date -u +%Y-%m-%dT%H%M%S).jsonl"); }
trained=()  # what was asked for; else three that are soon done
for name in "${names[@]}"; do trained+=(--models "$name"); done
if [ ${#names[@]} -eq 0 ]; then
  for path in "$models"/*.npz; do [ ! -e "$path" ] || names+=("$(basename "$path" .npz)"); done
fi
if [ ${#trained[@]} -eq 0 ]; then
  for name in "${names[@]}"; do
    case $name in convnet_gru|mobilenet_gru|dtpp_rgb) trained+=(--models "$name") ;; esac
  done
fi
measure() {
  "$python" -m benchmarks.inference --provider "$1" --folder "$models" "${quick[@]}" "${batches[@]}" "${seconds[@]}" \
    "${measured[@]}" "${into[@]}"
}
training=cuda; [ "$provider" != cpu ] || training=cpu  # backends know no TensorRT
measured=(); for name in "${names[@]}"; do measured+=(--models "$name"); done

for stage in "${stages[@]}"; do
  echo "== $stage"
  file "$stage"
  case $stage in
    check) "$python" -m benchmarks.gpu check --provider "$provider" --folder "$models" ;;
    correctness) "$python" -m benchmarks.gpu correctness --provider "$provider" --folder "$models" "${into[@]}" ;;
    inference)
      measure "$provider"
      # Its libraries are a package of their own, which ONNX Runtime lists whether they are there or not.
      if [ "$provider" = cuda ]; then
        if why=$("$python" -m benchmarks.gpu check --provider tensorrt --folder "$models" 2>&1); then
          file inference; measure tensorrt
        else echo "TensorRT is left out: $(tail -1 <<< "$why")"; fi
      fi ;;
    training)
      [ ${#trained[@]} -gt 0 ] || { echo "error: none of convnet_gru, mobilenet_gru and dtpp_rgb is in $models" >&2; exit 2; }
      "$python" -m benchmarks.training --provider "$training" "${quick[@]}" "${trained[@]}" "${options[@]}" \
        ${videos:+--videos "$videos"} "${into[@]}" ;;
    accuracy)
      [ ${#trained[@]} -gt 0 ] || { echo "error: none of convnet_gru, mobilenet_gru and dtpp_rgb is in $models" >&2; exit 2; }
      "$python" -m benchmarks.accuracy --provider "$training" "${quick[@]}" "${trained[@]}" "${into[@]}" ;;
    report) if [ -n "$results" ]; then "$python" -m benchmarks.report --results "$results"; else "$python" -m benchmarks.report; fi ;;
  esac
done

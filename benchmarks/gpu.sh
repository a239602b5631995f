#!/usr/bin/env bash
# The GPU proof, in stages that run alone, start again, and take minutes each. See GPU.md beside this file.
# usage: bash benchmarks/gpu.sh [--provider cuda|tensorrt|cpu] [--models FOLDER] [--results FOLDER] [--videos FOLDER]
#                               [--quick] [--set OPTION=VALUE ...] [check|correctness|inference|training|report ...]
set -euo pipefail
cd "$(dirname "$0")/.."
provider=cuda models=models results= videos= quick=() options=() stages=()
while [ $# -gt 0 ]; do
  case $1 in
    --provider) provider=$2; shift 2 ;;
    --models) models=$2; shift 2 ;;
    --results) results=$2; shift 2 ;;
    --videos) videos=$2; shift 2 ;;
    --set) options+=(--set "$2"); shift 2 ;;
    --quick) quick=(--quick); shift ;;
    check|correctness|inference|training|report) stages+=("$1"); shift ;;
    *) echo "error: $1 is neither an option nor a stage; see benchmarks/GPU.md" >&2; exit 2 ;;
  esac
done
[ ${#stages[@]} -gt 0 ] || stages=(check correctness inference training report)
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1

# A folder for the results: each stage a file of its own, named by its time, as in benchmarks/results/<machine>/.
into() { [ -z "$results" ] || echo "--json $results/$1-$(date -u +%Y-%m-%dT%H%M%S).jsonl"; }
names() { for file in "$models"/*.npz; do basename "$file" .npz; done; }

for stage in "${stages[@]}"; do
  echo "== $stage"
  case $stage in
    check) "$python" -m benchmarks.gpu check --provider "$provider" --folder "$models" ;;
    correctness) "$python" -m benchmarks.gpu correctness --provider "$provider" --folder "$models" $(into correctness) ;;
    inference)
      "$python" -m benchmarks.inference --provider "$provider" --folder "$models" "${quick[@]}" \
        $(for name in $(names); do echo "--models $name"; done) $(into inference) ;;
    training)
      chosen=()
      for name in convnet_gru mobilenet_gru dtpp_rgb; do [ -e "$models/$name.npz" ] && chosen+=(--models "$name"); done
      training=cuda; [ "$provider" = cpu ] && training=cpu
      "$python" -m benchmarks.training --provider "$training" "${quick[@]}" "${chosen[@]}" \
        "${options[@]}" ${videos:+--videos "$videos"} $(into training) ;;
    report) "$python" -m benchmarks.report ${results:+--results "$results"} ;;
  esac
done

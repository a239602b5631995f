#!/usr/bin/env bash
# mobilenet_gru on the Surveillance Camera Fight Dataset, its grouped split, trained on JAX and on TensorFlow, exported,
# and measured on the test clips from the ONNX file. Usage: bash benchmarks/fights.sh [DATA] [SEED]
# DATA holds fights/ (with split.csv) and weights/ (ImageNet MobileNet without its top). Writes runs/ and results/fights/.
set -euo pipefail
data=${1:-../shared/data}; seed=${2:-0}
weights=$data/weights/mobilenet_v1_025_224_imagenet_notop.h5
results=benchmarks/results/fights; mkdir -p "$results"
for backend in jax tensorflow; do
  run=runs/fights-$backend-$seed
  KERAS_BACKEND=$backend clipzoo train "$data/fights" --list "$data/fights/split.csv" --model mobilenet_gru --recipe article \
    --set alpha=0.25 --set "backbone_weights=$weights" --set dropout=0.2 --set size=160 --epochs 8 \
    --set recipe.train_from=conv_pw_12 --set recipe.seed="$seed" --out "$run"
  clipzoo export "$run" "$run/model.onnx"
  for model in "$run" "$run/model.onnx"; do
    name=$backend-$seed-$([ "$model" = "$run" ] && echo keras || echo onnx)
    KERAS_BACKEND=$backend clipzoo evaluate "$model" "$data/fights" --list "$data/fights/split.csv" --split test \
      --json "$results/$name.json"
  done
  cp "$run/history.csv" "$results/$backend-$seed-history.csv"
done

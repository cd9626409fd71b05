#!/bin/sh
# All six published recipes, trained, converted, measured and put into docs/recipes.md.
# Usage: compare.sh DATA [IMAGENET-WEIGHTS.npz]
#   DATA has ham10000/, isic_binary/ and isic9/. FULL=1 trains every recipe as it is written (a day on
#   two cores; EfficientNetB3 then from ImageNet weights, which Keras downloads); without it the
#   trainings are cut short as the table says. RUNS=DIR: where the runs go (runs).
# Every step resumes, or is passed over when it is done, when the same command is run again.
set -eu
data=$1 weights=${2:-}
python=${PYTHON:-python3}
runs=${RUNS:-runs}
[ -d "$data/ham10000" ] || { echo "no folder $data/ham10000; give the folder of the datasets" >&2; exit 2; }

# recipe, its dataset, and how it is cut short
compare() {
  recipe=$1 folder=$2
  shift 2
  run=$runs/$recipe
  [ -z "${FULL:-}" ] || set --
  if [ "$recipe" = ham10000-mobilenetv2 ] && [ -n "$weights" ]; then set -- "$@" --weights "$weights"; fi
  # fit ends with the figures of the test split in the card.
  grep -qs '"balanced_accuracy"' "$run/card.json" ||
    "$python" -m train fit "$recipe" --data "$data/$folder" --drop-overlap --out "$run" "$@"
  for format in int8 float16; do
    [ -f "$run/$recipe-$format.tflite" ] ||
      "$python" -m convert export "$run" --format $format -o "$run/$recipe-$format.tflite"
  done
  grep -qs "$recipe-int8.tflite" "$run/metrics.json" || "$python" -m train evaluate "$run"
  [ -f "$run/latency.json" ] ||
    "$python" -m lesionedge benchmark --quick --json \
      -m "$run/$recipe-int8.tflite" -m "$run/$recipe-float16.tflite" >"$run/latency.part"
  [ -f "$run/latency.json" ] || mv "$run/latency.part" "$run/latency.json"
}

compare isic-binary-cnn isic_binary --epochs 12
compare ham10000-mobilenetv2 ham10000 --epochs 1 --pictures 1000
compare ham10000-cnn ham10000 --epochs 2 --pictures 2000
compare isic9-cnn isic9 --epochs 3 --pictures 900
compare ham10000-binary-cnn ham10000 --epochs 5 --pictures 3000
compare ham10000-efficientnetb3 ham10000 --weights random --epochs 2 --pictures 160
"$python" train/comparison/figures.py collect "$runs"
"$python" train/comparison/figures.py write

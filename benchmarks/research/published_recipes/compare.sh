#!/bin/sh
# All six published recipes, trained, converted, measured and put into docs/research/published-recipes.md.
# Usage: compare.sh DATA [IMAGENET-WEIGHTS.npz]
#   DATA has ham10000/, isic_binary/ and isic9/. Every recipe is trained as it is written (an hour and a
#   half on two cores), but for EfficientNetB3: without a network there are no ImageNet weights for it, and
#   in full it takes a day; it is cut short as the table says, unless FULL=1 is set. RUNS=DIR: where the runs
#   go (runs). QUICK=1 cuts all short, to see whether everything runs: in RUNS/quick, and the page stays.
# Every step resumes, or is passed over when it is done, when the same command is run again.
set -eu
data=$1 weights=${2:-}
python=${PYTHON:-python3}
runs=${RUNS:-runs}${QUICK:+/quick}
[ -d "$data/ham10000" ] || { echo "no folder $data/ham10000; give the folder of the datasets" >&2; exit 2; }

# recipe, its dataset, when it is cut short (long: unless FULL=1; never: if QUICK=1 only), and how
compare() {
  recipe=$1 folder=$2 cut=$3
  shift 3
  run=$runs/$recipe
  case $cut in
    long) [ -z "${FULL:-}" ] || set -- ;;
    never) [ -n "${QUICK:-}" ] || set -- ;;
  esac
  if [ "$recipe" = ham10000-mobilenetv2 ] && [ -n "$weights" ]; then set -- "$@" --weights "$weights"; fi
  [ -f "$run/card.json" ] ||
    "$python" -m train fit "$recipe" --data "$data/$folder" --drop-overlap --out "$run" "$@"
  ! grep -q '^quantize = true' "$run/recipe.toml" || [ -f "$run/int8.h5" ] || "$python" -m train quantize "$run"
  # The figures of the test split go into the card, and with it into the files.
  grep -qs '"balanced_accuracy"' "$run/card.json" || "$python" -m train evaluate "$run"
  for format in int8 float16; do
    [ -f "$run/$recipe-$format.tflite" ] ||
      "$python" -m convert export "$run" --format $format -o "$run/$recipe-$format.tflite"
  done
  for format in int8 float16; do
    [ -f "$run/verify-$format.txt" ] || {
      "$python" -m convert verify "$run/$recipe-$format.tflite" --run "$run" >"$run/verify.part" ||
        echo "$recipe-$format.tflite: differs from the trained model by more than is allowed" >&2
      mv "$run/verify.part" "$run/verify-$format.txt"
    }
  done
  grep -qs "$recipe-int8.tflite" "$run/metrics.json" || "$python" -m train evaluate "$run"
  [ -f "$run/latency.json" ] ||
    "$python" -m lesionedge benchmark --quick --format json \
      -m "$run/$recipe-int8.tflite" -m "$run/$recipe-float16.tflite" >"$run/latency.part"
  [ -f "$run/latency.json" ] || mv "$run/latency.part" "$run/latency.json"
}

compare isic-binary-cnn isic_binary never --epochs 12
compare ham10000-mobilenetv2 ham10000 never --epochs 1 --images 1000
compare ham10000-cnn ham10000 never --epochs 2 --images 2000
compare isic9-cnn isic9 never --epochs 3 --images 900
compare ham10000-binary-cnn ham10000 never --epochs 5 --images 3000
compare ham10000-efficientnetb3 ham10000 long --weights random --epochs 2 --images 1000
[ -z "${QUICK:-}" ] || { echo "$runs: everything runs; the page keeps its figures" >&2; exit 0; }
"$python" benchmarks/research/published_recipes/figures.py collect "$runs"
"$python" benchmarks/research/published_recipes/figures.py write

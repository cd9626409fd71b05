#!/bin/sh
# From the images to the files in lesionedge/models: teach the networks on a GPU, then round, convert, measure
# and verify. Usage: release.sh HAM10000-FOLDER [WEIGHTS-FOLDER]
# WEIGHTS-FOLDER holds the ImageNet weights that train/gpu/plan.toml names. Three quarters of an hour of a GPU (days
# without one), then two hours on two cores; every step resumes, or is passed over when it is done, when the
# same command is run again. GPU=FOLDER takes the GPU's part from where python -m train.gpu left it, on another
# machine perhaps; GPU=train/release/gpu is what it left of the released models' fold 1 and of all images.
set -eu
data=$1 weights=${2:-}
python=${PYTHON:-python3}
models=lesionedge/models
runs=runs/release
[ -d "$data" ] || { echo "no such folder: '$data'; give make HAM10000=DIR" >&2; exit 2; }

gpu=${GPU:-$runs/gpu}
# on_gpu PLAN SPLIT WEIGHTS OUT OPTIONS
on_gpu() {
  plan=$1 split=$2 begin=$3 out=$4
  shift 4
  "$python" -m train.gpu "train/gpu/$plan" --images "$data" --split "$split" --weights "$begin" --out "$out" \
    --no-soft-labels "$@"
}
if [ -z "${GPU:-}" ]; then
  [ -d "$weights" ] || { echo "no such folder: '$weights'; give make WEIGHTS=DIR, or GPU=DIR" >&2; exit 2; }
  [ -f $runs/split/split.csv ] || "$python" -m train prepare mobilenetv2 --data "$data" --out $runs/split
  first=$runs/gpu-first
  on_gpu plan.toml $runs/split/split.csv "$weights" $first --folds 5 --first 3
  cp "$weights"/efficientnet-lite2-*.pth train/release/mobilenetv2-earlier/earlier.npz $first
  on_gpu again.toml $runs/split/split.csv $first "$gpu" --folds 5 --first 3
fi
[ -d "$gpu/all" ] || { echo "$gpu: no folder that train.gpu --folds made" >&2; exit 2; }

# fitted RECIPE RUN FOLD OPTIONS: a training with the fold's split, if it has not ended yet
fitted() {
  recipe=$1 run=$2 fold=$3
  shift 3
  [ ! -f "$run/fitted" ] || return 0
  mkdir -p "$run"
  [ -f "$run/split.csv" ] || cp "$gpu/$fold/split.csv" "$run"
  "$python" -m train fit "$recipe" --data "$data" --out "$run" --cache runs/cache "$@"
  touch "$run/fitted"
}
# rounded NETWORK FOLD: what the GPU left, rounded
rounded() {
  fitted "$1-taught" "$runs/$1-$2" "$2" --weights "$gpu/$2/$1.npz"
}
# file RUN FORMAT OUTPUT
file() {
  [ -f "$3" ] || "$python" -m convert export "$1" --format "$2" -o "$3"
}
# retaught FOLD TEACHER: mobilenetv2, taught what it, which counts twice, and another model say together
retaught() {
  own=$runs/mobilenetv2-$1/mobilenetv2-int8.tflite
  file "$runs/mobilenetv2-$1" int8 "$own"
  fitted mobilenetv2-retaught "$runs/mobilenetv2-retaught-$1" "$1" --weights "$gpu/$1/mobilenetv2.npz" \
    --teacher "$own" --teacher "$own" --teacher "$2"
}
# third FOLD: cnn once more on a GPU, taught by two larger networks and by what mobilenetv2 has become
third() {
  from=$runs/gpu-third-from/$1 to=$runs/gpu-third/$1 float=$runs/mobilenetv2-retaught-$1/mobilenetv2-float16.tflite
  mkdir -p "$from" "$to"
  cp "$weights"/efficientnet-lite2-*.pth "$gpu/$1/cnn.npz" "$from"
  file "$runs/mobilenetv2-retaught-$1" float16 "$float"
  [ -f "$from/mobilenetv2.npz" ] || "$python" -m train weights "$float" --out "$from/mobilenetv2.npz"
  for larger in labels taught; do
    on_gpu $larger.toml "$gpu/$1/split.csv" "$from" "$to"
    cp "$to/$larger.pth" "$from"
  done
  on_gpu third.toml "$gpu/$1/split.csv" "$from" "$to" --student cnn
  cp "$gpu/$1/split.csv" "$to"
}
# release NETWORK RUN FORMATS: measure RUN-fold-1, the twin, and put RUN-all, with that in its card, into the package
release() {
  network=$1 run=$runs/$2
  shift 2
  for format; do
    file "$run-fold-1" "$format" "$run-fold-1/$network-$format.tflite"
    "$python" -m convert verify "$run-fold-1/$network-$format.tflite" --run "$run-fold-1"
  done
  "$python" -m train pool "$run-fold-1" --out "$run-pool" --cache runs/cache --data "$data" --card "$run-all"
  for format; do
    made=$models/$network-$format.tflite
    "$python" -m convert export "$run-all" --format "$format" -o "$made"
    "$python" -m convert verify "$made" --run "$run-all" --split calibration
    # Operating points as measured on the file itself; its network stays as it is.
    "$python" -m train evaluate "$run-all" --split calibration --model "$made" --cache runs/cache \
      --out "$run-$format-calibration"
    "$python" -m convert operating-points "$made" --metrics "$run-$format-calibration/metrics.json"
    # The figures are those of the twin's file.
    "$python" -m convert figures "$made" --metrics "$run-pool/metrics.json"
  done
}

rounded mobilenetv2 fold-1
rounded mobilenetv2 all

# The other model: the one of 2026-11-24, which knows none of fold 1's test images; for all lesions, gone on with them.
second=$runs/mobilenetv2-second
earlier=train/release/mobilenetv2-earlier
fitted mobilenetv2-second $second all --weights $earlier/earlier.npz
file $second int8 $second/mobilenetv2-int8.tflite
retaught fold-1 $earlier/int8.tflite
retaught all $second/mobilenetv2-int8.tflite

if [ -z "${GPU:-}" ]; then
  third fold-1
  third all
  gpu=$runs/gpu-third
fi
rounded cnn fold-1
rounded cnn all

release mobilenetv2 mobilenetv2-retaught int8 float16
release cnn cnn int8

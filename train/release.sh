#!/bin/sh
# From the pictures to the files in lesionedge/models: teach the networks on a GPU, then round, convert, measure
# and verify. Usage: release.sh HAM10000-FOLDER [WEIGHTS-FOLDER]
# WEIGHTS-FOLDER holds the ImageNet weights that train/gpu/plan.toml names. A quarter of an hour of a GPU (days
# without one), then three quarters of an hour on two cores; every step resumes, or is passed over when it is done, when the
# same command is run again. GPU=FOLDER takes the GPU's part from where python -m train.gpu left it, on another
# machine perhaps; GPU=train/release/gpu is what it left of the released models' fold 1 and of all pictures.
set -eu
data=$1 weights=${2:-}
python=${PYTHON:-python3}
models=lesionedge/models
runs=runs/release
[ -d "$data" ] || { echo "no such folder: '$data'; give make HAM10000=DIR" >&2; exit 2; }

gpu=${GPU:-$runs/gpu}
if [ -z "${GPU:-}" ]; then
  [ -d "$weights" ] || { echo "no such folder: '$weights'; give make WEIGHTS=DIR, or GPU=DIR" >&2; exit 2; }
  [ -f $runs/split/split.csv ] || "$python" -m train prepare mobilenetv2 --data "$data" --out $runs/split
  "$python" -m train.gpu train/gpu/plan.toml --pictures "$data" --split $runs/split/split.csv \
    --weights "$weights" --out $gpu --folds 5 --first 3
fi
[ -d "$gpu/all" ] || { echo "$gpu: no folder that train.gpu --folds made" >&2; exit 2; }

# finish NETWORK FOLD
finish() {
  network=$1 fold=$2 run=$runs/$1-$2
  mkdir -p "$run"
  [ -f "$run/split.csv" ] || cp "$gpu/$fold/split.csv" "$run"
  "$python" -m train fit "$network-taught" --data "$data" --out "$run" --cache runs/cache \
    --weights "$gpu/$fold/$network.npz"
}
# file NETWORK FOLD FORMAT OUTPUT
file() {
  [ -f "$4" ] || "$python" -m convert export "$runs/$1-$2" --format "$3" -o "$4"
}

for network in mobilenetv2 cnn; do
  formats=int8
  [ $network = cnn ] || formats="int8 float16"
  measured=
  for fold in "$gpu"/fold-*; do
    fold=$(basename "$fold")
    [ -f "$gpu/$fold/$network.npz" ] || continue
    finish $network "$fold"
    for format in $formats; do
      file $network "$fold" $format "$runs/$network-$fold/$network-$format.tflite"
    done
    measured="$measured $runs/$network-$fold"
  done
  finish $network all
  # shellcheck disable=SC2086 # a list of folders
  "$python" -m train pool $measured --out $runs/$network-pool --cache runs/cache --data "$data" \
    --card $runs/$network-all
  for format in $formats; do
    made=$models/$network-$format.tflite
    "$python" -m convert export $runs/$network-all --format $format -o $made
    "$python" -m convert verify $made --run $runs/$network-all --split calibration
    "$python" -m convert verify $runs/$network-fold-1/$network-$format.tflite --run $runs/$network-fold-1
    # Operating points as measured on the file itself; its network stays as it is.
    "$python" -m train evaluate $runs/$network-all --split calibration --model $made --cache runs/cache \
      --out $runs/$network-$format-calibration
    "$python" -m convert operating-points $made --metrics $runs/$network-$format-calibration/metrics.json
  done
done

#!/bin/sh
# From the pictures to the files in lesionedge/models: train a teacher and the models, convert, verify.
# Usage: release.sh HAM10000-FOLDER [IMAGENET-WEIGHTS.npz]
# Takes hours on two cores; every step resumes, or is passed over when it is done, when the same command is
# run again. KEPT=1 takes the teacher and its soft labels from train/release/mobilenetv2-teacher, as the
# released models did, instead of training a teacher anew.
set -eu
data=$1 weights=${2:-}
python=${PYTHON:-python3}
models=lesionedge/models
teacher=runs/mobilenetv2-teacher
soft=runs/soft-labels.npz
[ -d "$data" ] || { echo "no such folder: '$data'; give make HAM10000=DIR" >&2; exit 2; }

if [ -n "${KEPT:-}" ]; then
  teacher=train/release/mobilenetv2-teacher
  soft=$teacher/soft-labels.npz
else
  "$python" -m train fit mobilenetv2-teacher --data "$data" --out $teacher ${weights:+--weights "$weights"}
  for format in int8 float16; do
    [ -f $teacher/$format.tflite ] ||
      "$python" -m convert export $teacher --format $format -o $teacher/$format.tflite
  done
  [ -f $soft ] || "$python" -m train label $teacher/int8.tflite --data "$data" --out $soft
fi
"$python" -m train fit mobilenetv2 --data "$data" --out runs/mobilenetv2 \
  --weights $teacher/float16.tflite --soft-labels $soft
"$python" -m train fit cnn-distilled --data "$data" --out runs/cnn --soft-labels $soft
"$python" -m convert export runs/mobilenetv2 --format int8 -o $models/mobilenetv2-int8.tflite
"$python" -m convert export runs/mobilenetv2 --format float16 -o $models/mobilenetv2-float16.tflite
"$python" -m convert export runs/cnn --format int8 -o $models/cnn-int8.tflite
"$python" -m convert verify $models/mobilenetv2-int8.tflite --run runs/mobilenetv2
"$python" -m convert verify $models/mobilenetv2-float16.tflite --run runs/mobilenetv2
"$python" -m convert verify $models/cnn-int8.tflite --run runs/cnn
"$python" -m train evaluate runs/mobilenetv2 \
  --model $models/mobilenetv2-int8.tflite --model $models/mobilenetv2-float16.tflite
"$python" -m train evaluate runs/cnn --model $models/cnn-int8.tflite
# Operating points as measured on each file itself; its network stays as it is.
"$python" -m convert operating-points $models/mobilenetv2-int8.tflite --metrics runs/mobilenetv2/metrics.json
"$python" -m convert operating-points $models/mobilenetv2-float16.tflite --metrics runs/mobilenetv2/metrics.json
"$python" -m convert operating-points $models/cnn-int8.tflite --metrics runs/cnn/metrics.json

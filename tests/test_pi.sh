#!/bin/sh
# The wheel on emulated Debian arm64 and armhf: it installs by its own markers and answers as
# x86-64 does (int8 within 0.05, float16 within 0.005, same top label).
# On armhf the wheel for 32-bit systems is tried as well.
# Usage: test_pi.sh FOLDER-OF-WHEELS PICTURE   (PI_ROOT names the tool that runs a command there)
set -eu
wheel=$(echo "$1"/*-py3-none-any.whl) wheel32=$(echo "$1"/*-py3-none-linux_armv7l.whl) picture=$2
root=${PI_ROOT:-../shared/tools/pi-root}
if [ ! -x "$root" ]; then
  echo "skipped: needs a tool that runs a wheel on an emulated Raspberry Pi system; set PI_ROOT to"
  echo "one that takes: ARCH WHEEL -- COMMAND, with this folder at /src"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Answers of one model there and here.
compare() { # ARCH WHEEL MODEL
  tolerance=0.05
  [ "$3" != mobilenetv2-float16 ] || tolerance=0.005
  "$root" "$1" "$2" -- lesionedge predict "/src/$picture" -m "$3" --format json >"$folder/there.json"
  .venv/bin/lesionedge predict "$picture" -m "$3" --format json >"$folder/here.json"
  echo "$1, $(basename "$2"), $3:"
  .venv/bin/python tests/compare_predictions.py \
    "$folder/here.json" "$folder/there.json" --tolerance "$tolerance"
}

for arch in arm64 armhf; do
  for model in mobilenetv2 mobilenetv2-float16 cnn; do
    compare "$arch" "$wheel" "$model"
  done
  "$root" "$arch" "$wheel" -- sh -ec "lesionedge info; lesionedge doctor; lesionedge benchmark --quick"
done
compare armhf "$wheel32" mobilenetv2

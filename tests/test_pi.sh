#!/bin/sh
# The wheel on emulated Debian arm64 and armhf: it installs by its own markers and answers as
# x86-64 does (int8 within 0.05, float16 within 0.005, same top label).
# Usage: test_pi.sh WHEEL PICTURE   (PI_ROOT names the tool that runs a command there)
set -eu
wheel=$1 picture=$2
root=${PI_ROOT:-../shared/tools/pi-root}
if [ ! -x "$root" ]; then
  echo "skipped: needs a tool that runs a wheel on an emulated Raspberry Pi system; set PI_ROOT to"
  echo "one that takes: ARCH WHEEL -- COMMAND, with this folder at /src"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for arch in arm64 armhf; do
  for model in mobilenetv2 mobilenetv2-float16 cnn; do
    tolerance=0.05
    [ "$model" != mobilenetv2-float16 ] || tolerance=0.005
    "$root" "$arch" "$wheel" -- \
      lesionedge predict "/src/$picture" -m "$model" --format json >"$folder/there.json"
    .venv/bin/lesionedge predict "$picture" -m "$model" --format json >"$folder/here.json"
    echo "$arch $model:"
    .venv/bin/python benchmarks/compare_answers.py \
      "$folder/here.json" "$folder/there.json" --tolerance "$tolerance"
  done
  "$root" "$arch" "$wheel" -- lesionedge info
done

#!/bin/sh
# Runs the commands of docs/guides/raspberry-pi.md, as printed, on the systems that the page names.
# Then compares predictions with this machine's: the same top label, and probabilities within 0.05
# (int8) or 0.005 (float16).
# Usage: test_pi.sh FOLDER-OF-WHEELS IMAGE [SYSTEM...]
#   SYSTEM   bookworm-64, bookworm-32 (both emulated) or trixie-64 (Python 3.13, on this processor:
#            building that system under emulation takes most of an hour); default: all three
#   PI_ROOT  names the tool that runs a command on such a system
set -eu
dist=$1 image=$2
shift 2
root=${PI_ROOT:-../shared/tools/pi-root}
if [ ! -x "$root" ]; then
  echo "skipped: needs a tool that runs a wheel on an emulated Raspberry Pi system; set PI_ROOT to"
  echo "one that takes: ARCH WHEEL -- COMMAND, with this folder at /src"
  exit 0
fi
[ $# -gt 0 ] || set -- bookworm-64 bookworm-32 trixie-64
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
MODELS="mobilenetv2 mobilenetv2-float16 cnn"

# The emulated system does not have this machine's settings; pip may need these.
settings=$(env | grep -iE '^(pip_|ssl_cert|requests_ca|https?_proxy|no_proxy)' | grep -v ' ' || true)

# page BITS: print the commands that a reader types, then a prediction (one JSON line) per model.
page() {
  echo 'sudo() { DEBIAN_FRONTEND=noninteractive "$@"; }'
  echo "mkdir /tmp/home && cd /tmp/home && cp /src/$dist/*.whl . && cp '/src/$image' photo.jpg"
  echo 'exec 3>&1 >&2; set -ex'
  python3 tests/run_docs.py --pi "$1"
  echo 'set +x; exec >&3'
  for model in $MODELS; do
    echo "lesionedge predict photo.jpg -m $model --format json"
  done
}

for system; do
  suite=${system%-*} bits=${system#*-}
  case $system in
    bookworm-64) arch=arm64 ;;
    bookworm-32) arch=armhf ;;
    trixie-64) arch=amd64 ;;
    *) echo "$system: expected bookworm-64, bookworm-32 or trixie-64"; exit 2 ;;
  esac
  page "$bits" >"$folder/page.sh"
  echo "== $system ($arch)"
  # shellcheck disable=SC2086
  LESIONEDGE_DEBIAN_SUITE=$suite "$root" "$arch" "$dist"/lesionedge-*-py3-none-any.whl -- \
    env $settings sh -c "$(cat "$folder/page.sh")" >"$folder/there.json"
  line=0
  for model in $MODELS; do
    line=$((line + 1))
    tolerance=0.05
    [ "$model" != mobilenetv2-float16 ] || tolerance=0.005
    sed -n "${line}p" "$folder/there.json" >"$folder/there"
    .venv/bin/lesionedge predict "$image" -m "$model" --format json >"$folder/here"
    echo "$system, $model:"
    .venv/bin/python tests/compare_predictions.py "$folder/here" "$folder/there" --tolerance "$tolerance"
  done
done

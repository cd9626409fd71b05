#!/bin/sh
# test_v4l2.sh runs this inside the virtual machine.
set -eu
driver=/sys/bus/platform/drivers/vivid
device=$(basename "$(readlink -f /sys/class/video4linux/video0/device)")

# start NAME OPTION...: start a camera in the background and wait for its first prediction.
start() {
  name=$1
  shift
  lesionedge camera --source /dev/video0 --size 640x480 --format json "$@" \
    >"$name.jsonl" 2>"$name.txt" &
  camera=$!
  for _ in $(seq 60); do [ -s "$name.jsonl" ] && return; sleep 1; done
  cat "$name.txt"
  echo "no prediction from the camera"
  exit 1
}

# ends NAME STATUS: check the exit status of the camera in the background and its summary.
ends() {
  status=0
  wait "$camera" || status=$?
  cat "$1.txt"
  test "$status" = "$2"
  grep -q "classified" "$1.txt"
}

lesionedge doctor || true

echo "--- predictions from the camera that is found automatically"
lesionedge camera --size 640x480 --frames 3 --format json >predictions.jsonl 2>said.txt
cat said.txt
test "$(wc -l <predictions.jsonl)" = 3
grep -q "/dev/video0 (vivid): YUYV 640x480, .* frames/s" said.txt
python3 - <<'CHECK'
import json
rows = [json.loads(line) for line in open("predictions.jsonl")]
assert all(abs(sum(c["probability"] for c in row["top"]) - 1) < 0.02 for row in rows), rows
assert len({row["frame"] for row in rows}) == 3, rows
CHECK

echo "--- the image is the device's: YUYV converted to RGB agrees with the driver's own RGB"
lesionedge camera --source /dev/video0 --size 640x480 --frames 1 --save seen --save-when always \
  >/dev/null 2>&1
v4l2-ctl -d /dev/video0 --set-fmt-video=width=640,height=480,pixelformat=RGB3 \
  --stream-mmap --stream-count=1 --stream-to=frame.rgb >/dev/null 2>&1
python3 - <<'CHECK'
import glob
import numpy as np
from PIL import Image
ours = np.asarray(Image.open(glob.glob("seen/*.jpg")[0]), float)
theirs = np.fromfile("frame.rgb", np.uint8).reshape(ours.shape).astype(float)
# The colour bars at the left and right edges; text and a box move between them.
bars = [10, 40, 600, 630]
apart = abs(ours[240, bars] - theirs[240, bars]).max()
print("furthest apart:", apart, "of 255")
assert apart < 12, (ours[240, bars], theirs[240, bars])
CHECK

echo "--- busy"
v4l2-ctl -d /dev/video0 --stream-mmap --stream-count=0 >/dev/null 2>&1 &
holder=$!
sleep 3
if lesionedge camera --source /dev/video0 --frames 1 >/dev/null 2>busy.txt; then
  echo "a busy device was opened" && exit 1
fi
cat busy.txt
grep -q "busy" busy.txt
kill "$holder"
wait "$holder" || true

for signal in INT TERM; do
  echo "--- SIG$signal"
  start "$signal"
  kill "-$signal" "$camera"
  ends "$signal" 0
done
v4l2-ctl -d /dev/video0 --stream-mmap --stream-count=1 >/dev/null 2>&1 # the device is free again

echo "--- unplugged while running, and plugged in again"
start running --give-up 60
echo "$device" >$driver/unbind
sleep 4
before=$(wc -l <running.jsonl)
echo "$device" >$driver/bind
for _ in $(seq 40); do grep -q "back after" running.txt && break; sleep 1; done
sleep 4
after=$(wc -l <running.jsonl)
kill -INT "$camera"
ends running 0
grep -q "trying again" running.txt
grep -q "back after" running.txt
test "$after" -gt "$before"

echo "--- unplugged for good, its driver removed"
start gone --give-up 5
echo "$device" >$driver/unbind
sleep 2
rmmod vivid
ends gone 1
grep -q "gave up after 5 s" gone.txt
test ! -e /dev/video0
if lesionedge camera 2>absent.txt; then
  echo "a camera was found where there is none" && exit 1
fi
cat absent.txt
grep -q "no /dev/video" absent.txt
grep -q "apt install rpicam-apps-lite" absent.txt
echo "the V4L2 device works"

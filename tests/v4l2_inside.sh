#!/bin/sh
# Run inside the virtual machine by test_v4l2.sh.
set -eu
lesionedge doctor || true
echo "--- answers"
lesionedge camera --size 640x480 --frames 3 --format json >answers.jsonl 2>said.txt
cat said.txt
test "$(wc -l <answers.jsonl)" = 3
grep -q "/dev/video0" said.txt
python3 - <<'CHECK'
import json
rows = [json.loads(line) for line in open("answers.jsonl")]
assert all(abs(sum(row["probabilities"].values()) - 1) < 0.02 for row in rows), rows
assert len({row["frame"] for row in rows}) == 3, rows
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
echo "--- unplugged while running, and plugged in again"
lesionedge camera --source /dev/video0 --size 640x480 --format json --give-up 60 \
  >running.jsonl 2>running.txt &
camera=$!
for _ in $(seq 60); do [ -s running.jsonl ] && break; sleep 1; done
device=$(basename "$(readlink -f /sys/class/video4linux/video0/device)")
echo "$device" >/sys/bus/platform/drivers/vivid/unbind
sleep 4
before=$(wc -l <running.jsonl)
echo "$device" >/sys/bus/platform/drivers/vivid/bind
for _ in $(seq 40); do grep -q "back after" running.txt && break; sleep 1; done
sleep 4
after=$(wc -l <running.jsonl)
kill -INT "$camera"
wait "$camera"
cat running.txt
grep -q "trying again" running.txt
grep -q "back after" running.txt
test "$after" -gt "$before"
echo "the V4L2 device works"

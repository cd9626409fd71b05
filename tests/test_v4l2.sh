#!/bin/sh
# A real V4L2 device (the kernel's vivid driver, YUYV) in a virtual machine: captured, busy, unplugged.
# Usage: test_v4l2.sh FOLDER-OF-WHEELS   (V4L2_VM names the tool that runs a command there)
set -eu
wheel=$(echo "$1"/*-py3-none-any.whl)
vm=${V4L2_VM:-../shared/tools/v4l2-vm}
if [ ! -x "$vm" ]; then
  echo "skipped: needs a tool that runs a command with a wheel in a virtual machine that has a"
  echo "/dev/video0; set V4L2_VM to one that takes: WHEEL -- COMMAND, with this folder at /src"
  exit 0
fi
export LESIONEDGE_VM_TIMEOUT="${LESIONEDGE_VM_TIMEOUT:-400}" # emulated, it takes minutes
"$vm" "$wheel[camera]" -- sh -eu /src/tests/v4l2_inside.sh

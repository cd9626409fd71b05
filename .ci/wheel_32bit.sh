#!/bin/sh
# From dist/*-any.whl make a second wheel for 32-bit ARM systems.
#
# A 32-bit Raspberry Pi OS mostly runs on a 64-bit kernel. Its platform_machine is then aarch64, and
# the general wheel's markers would ask for LiteRT, which has no 32-bit build. pip does know that
# Python is a 32-bit one: it takes a wheel tagged linux_armv7l before the general one, and this one
# names what a 32-bit system can have.
# Usage: wheel_32bit.sh PYTHON FOLDER
set -eu
python=$1 dist=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m wheel unpack --dest "$work" "$dist"/*-py3-none-any.whl >/dev/null
metadata=$(echo "$work"/*/*.dist-info/METADATA)
"$python" - "$metadata" <<'EDIT'
import re, sys
from pathlib import Path
path = Path(sys.argv[1])
text = path.read_text(encoding="utf-8")
ours = r"Requires-Dist: (?:numpy|ai-edge-litert|tflite-runtime)\b(?![^\n]*extra ==)[^\n]*\n"
assert len(re.findall(ours, text)) == 4, re.findall(ours, text)
needs = [
    "numpy>=1.23,<2; python_version < '3.12'",
    "numpy>=1.23; python_version >= '3.12'",
    "tflite-runtime>=2.13; python_version < '3.12'",
]
at = re.search(ours, text).start()
text = re.sub(ours, "", text)
path.write_text(
    text[:at] + "".join(f"Requires-Dist: {need}\n" for need in needs) + text[at:],
    encoding="utf-8",
)
EDIT
"$python" -m wheel pack --dest-dir "$work" "$work"/*/ >/dev/null
"$python" -m wheel tags --remove --platform-tag linux_armv7l "$work"/*.whl >/dev/null
mv "$work"/*.whl "$dist"

#!/bin/sh
# The wheel holds only the package and its models, installs without TensorFlow, and predicts.
# Usage: test_wheel.sh FOLDER-OF-WHEELS IMAGE
set -eu
wheel=$(echo "$1"/*-py3-none-any.whl) wheel32=$(echo "$1"/*-py3-none-linux_armv7l.whl) image=$2
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$python" - "$wheel" "$wheel32" <<'CHECK'
import sys, zipfile
general, for_32bit = (zipfile.ZipFile(path) for path in sys.argv[1:])
for name in general.namelist():
    if ".dist-info/" not in name:
        assert general.read(name) == for_32bit.read(name), name
(metadata,) = (name for name in for_32bit.namelist() if name.endswith("/METADATA"))
needs = for_32bit.read(metadata).decode()
assert "Requires-Dist: tflite-runtime>=2.13; python_version < '3.12'\n" in needs, needs
assert "ai-edge-litert" not in needs.partition("\n\n")[0], needs
names = zipfile.ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names}
assert all(top == "lesionedge" or top.endswith(".dist-info") for top in tops), tops
models = {name for name in names if name.startswith("lesionedge/models/")}
wanted = {"mobilenetv2-int8.tflite", "mobilenetv2-float16.tflite", "cnn-int8.tflite",
          "MODEL_CARD.md", "LICENSE"}
assert {name.rsplit("/", 1)[1] for name in models} >= wanted, models
assert "lesionedge/py.typed" in names
CHECK

"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check --quiet install "$wheel"
cp "$image" "$folder/image.jpg"
cd "$folder"
"$folder/venv/bin/lesionedge" predict image.jpg --format json >prediction.json
"$folder/venv/bin/lesionedge" predict image.jpg -m cnn
"$folder/venv/bin/lesionedge" info >/dev/null
"$folder/venv/bin/python" - <<'CHECK'
import importlib.util, json
prediction = json.load(open("prediction.json"))
assert abs(sum(c["probability"] for c in prediction["top"]) - 1) < 1e-3, prediction
for heavy in ("tensorflow", "tf_keras", "pandas", "sklearn", "matplotlib", "scipy"):
    assert importlib.util.find_spec(heavy) is None, f"{heavy} came with the wheel"
CHECK
echo "the wheel works alone"

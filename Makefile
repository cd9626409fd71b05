# make demo         install into .venv and classify the bundled example
# make test         all tests but the slow ones; installs what they need into .venv (TensorFlow, too: 3.9 GB)
# make test-slow    training in all its kinds, which takes minutes
# make test-all     both in one run, which is quicker; .ci/run does it
# make test-device  the tests of the runtime alone, without TensorFlow (0.7 GB)
# make test-docs    every command of README, quickstart and guides, as printed
# make lint         style, types, import directions
# make docs         the documentation as a site, in site/ (offline; a dead link fails)
# make bench        speed against hand-written code, on this machine
# make help         the others
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# A plain path entry: the default kind of editable install adds 10 ms to every start.
EDITABLE := --config-settings editable_mode=compat
EXAMPLE := examples/synthetic_lesion.jpg

# What the tests of the runtime need besides it.
DEVICE_EXTRAS := camera,web,heic,dicom,test

.PHONY: help app demo ready test test-slow test-all test-device say-test try-app tools lint docs test-docs bench wheel release test-wheel test-tflite test-pi test-camera \
  test-cluster release-models fuzz gate clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(VENV)/.runtime: pyproject.toml
	@echo "Installing lesionedge into $(VENV) (200 MB) ..."
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -e . $(EDITABLE)
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "Installing TensorFlow and the tools of the tests into $(VENV) (3 GB) ..."
	$(PIP) install -e ".[$(DEVICE_EXTRAS),train,dev]" $(EDITABLE)
	@touch $@

demo: $(VENV)/.runtime
	$(BIN)/lesionedge predict $(EXAMPLE)
	@echo
	@echo "To call the command yourself, in this terminal:"
	@echo "  . $(VENV)/bin/activate"
	@echo "  lesionedge predict $(EXAMPLE)"

# make app          the phone's app, in dist/app: a static folder (needs npm, which fetches LiteRT.js)
APP := dist/app
app: $(APP)/index.html
$(APP)/index.html: $(wildcard app/* app/src/* lesionedge/*.py lesionedge/web/static/* lesionedge/models/*) $(VENV)/.runtime
	$(BIN)/python app/build.py $(APP)
	@echo "$(APP): lesionedge serve --app $(APP), or any static host, serves it"

# Its tests are skipped where it cannot be built, and never run with one that was built before.
try-app: $(VENV)/.runtime
	@if ! command -v npm >/dev/null; then echo "Tests of the phone's app will be skipped: they need Node.js and npm"; \
	  rm -rf $(APP); \
	else $(MAKE) --no-print-directory app || { rm -rf $(APP); echo "Tests of the phone's app will be skipped"; }; \
	  $(BIN)/python app/build.py --peer >/dev/null || echo "The test of MediaPipe's web runtime will be skipped"; fi

# MediaPipe runs our files in a test. It wants another absl-py than TensorFlow's model optimization.
.venv-mediapipe/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/pip --disable-pip-version-check --quiet install "mediapipe>=1.2,<2" || \
	  echo "MediaPipe has no wheel for this system: its test will be skipped"
	@touch $@

# picamera2's source, to check our calls against: to run it takes libcamera and a Pi's camera.
.venv-picamera2/.ready: pyproject.toml $(VENV)/.runtime
	$(PIP) install --no-deps --upgrade --target .venv-picamera2 "picamera2>=0.3" || \
	  echo "picamera2 cannot be had here: its test will be skipped"
	@mkdir -p .venv-picamera2 && touch $@

# The ISIC challenge's scorer, which a test holds our figures against. It wants an older pandas.
.venv-scorer/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-scorer
	.venv-scorer/bin/pip --disable-pip-version-check --quiet install "isic-challenge-scoring>=5.6,<6" "pandas<3" || \
	  echo "isic-challenge-scoring cannot be had here: its test will be skipped"
	@touch $@

# make tools        Debian packages that some tests need: browsers, certutil, a display, an RTSP server, an MQTT
#                   broker (as root; 1 GB); without them these tests are skipped
TOOLS := chromium xvfb xdotool python3-tk gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good \
  mosquitto mosquitto-clients libnss3-tools firefox-esr
MISSING_TOOLS = $$(for tool in $(TOOLS); do dpkg-query --show $$tool >/dev/null 2>&1 || echo $$tool; done)
tools:
	@test "$$(id -u)" = 0 || { echo "make tools installs Debian packages: run it as root (sudo make tools)"; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(TOOLS)

say-test:
	@missing=$(MISSING_TOOLS); test -z "$$missing" || \
	  echo "Tests that need" $$missing "will be skipped. To run them, too: sudo make tools"

# All that make test installs and builds.
ready: try-app $(VENV)/.dev .venv-mediapipe/.ready .venv-picamera2/.ready .venv-scorer/.ready

# Two files at a time, the longest first (tests/conftest.py): a file's tests share what they set up.
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder
test: CHOSEN := -m "not slow"
test test-all: say-test ready
	LESIONEDGE_PICAMERA2=$(CURDIR)/.venv-picamera2 LESIONEDGE_MEDIAPIPE=$(CURDIR)/.venv-mediapipe/bin/python \
	  LESIONEDGE_ISIC_SCORER=$(CURDIR)/.venv-scorer/bin/python \
	  $(BIN)/python $(PYTEST) $(CHOSEN) --cov --cov-report=term:skip-covered

test-slow: $(VENV)/.dev
	$(BIN)/python $(PYTEST) -m slow

.venv-device/.ready: pyproject.toml
	@echo "Installing what the tests of the runtime need into .venv-device (0.7 GB) ..."
	$(PYTHON) -m venv .venv-device
	.venv-device/bin/pip --disable-pip-version-check --quiet install -e ".[$(DEVICE_EXTRAS)]" $(EDITABLE)
	@touch $@

test-device: say-test .venv-device/.ready .venv-picamera2/.ready
	LESIONEDGE_PICAMERA2=$(CURDIR)/.venv-picamera2 .venv-device/bin/python $(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.docs: $(VENV)/.runtime
	$(PIP) install -e ".[docs]" $(EDITABLE)
	@touch $@

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs site
	@echo "site/index.html"

test-docs:
	$(PYTHON) tests/run_docs.py

bench: $(VENV)/.runtime
	$(BIN)/python benchmarks/latency.py

# make wheel        dist/*.whl: one for all systems, one for 32-bit ARM; needs no TensorFlow
BUILD := .venv-build
$(BUILD)/.ready: pyproject.toml
	$(PYTHON) -m venv $(BUILD)
	$(BUILD)/bin/pip --disable-pip-version-check --quiet install "build>=1" "wheel>=0.43" "cyclonedx-bom>=7"
	@touch $@

wheel: $(BUILD)/.ready
	rm -rf build dist/*.whl
	$(BUILD)/bin/python -m build --wheel --outdir dist .
	sh .ci/wheel_32bit.sh $(BUILD)/bin/python dist

# make release      all tests, then dist/: both wheels, the site, an SBOM of an installation, checksums
release: lint test-all wheel docs
	PYTHON=$(PYTHON) sh tests/test_wheel.sh dist $(EXAMPLE)
	sh .ci/release_files.sh $(PYTHON) $(BUILD)/bin dist site

# make test-wheel   the wheel alone, in a fresh environment
test-wheel: wheel
	PYTHON=$(PYTHON) sh tests/test_wheel.sh dist $(EXAMPLE)

# make test-tflite  the same predictions with tflite-runtime in place of LiteRT
test-tflite: $(VENV)/.runtime wheel
	PYTHON=$(BIN)/python sh tests/test_tflite_runtime.sh dist/*-any.whl $(EXAMPLE)

# make test-pi      the commands of the Raspberry Pi guide, on Bookworm (64 and 32 bit, emulated) and Trixie
test-pi: $(VENV)/.runtime wheel
	sh tests/test_pi.sh dist $(EXAMPLE)

# make test-camera  a real V4L2 device, in a virtual machine
test-camera: wheel
	sh tests/test_v4l2.sh dist

# make test-cluster Ray on loopback, nodes and workers killed; stand-ins for object stores; training on two
#                   workers (minutes)
test-cluster: $(VENV)/.dev
	$(PIP) install -e ".[cluster,stores]" $(EDITABLE)
	LESIONEDGE_CLUSTER=1 $(BIN)/python -m pytest tests/test_batch.py tests/test_cluster.py tests/test_stores.py \
	  tests/test_workers.py

# make release-models HAM10000=DIR   make, measure and convert the embedded models from release/base (GATE=DIR of the
#                   gate's sources makes the gate, too; WEIGHTS=FILE: ImageNet's for it; BCN=DIR and ISIC2017=DIR:
#                   mobilenetv2 learns from these collections, too)
HAM10000 ?= $(LESIONEDGE_DATA)/ham10000
release-models: $(VENV)/.dev
	$(BIN)/python release/make.py "$(HAM10000)" $(if $(BCN),--bcn "$(BCN)") \
	  $(if $(ISIC2017),--isic2017 "$(ISIC2017)") $(if $(GATE),--gate "$(GATE)") $(if $(WEIGHTS),--imagenet "$(WEIGHTS)")

# make fuzz         ten minutes each of random images, archives and model files (FUZZ_S=SECONDS for others).
#                   The fuzzer itself keeps about 10 kB a run of fuzz_icc; the same profiles in a plain process keep none
FUZZ_S ?= 600
FUZZ := .fuzz
fuzz: $(VENV)/.dev
	$(PIP) install -e ".[fuzz]" $(EDITABLE)
	$(BIN)/python tests/fuzz/make_corpus.py $(FUZZ)
	for part in icc image heic dicom archive metadata; do mkdir -p $(FUZZ)/found-$$part && \
	  $(BIN)/python tests/fuzz/fuzz_$$part.py -max_total_time=$(FUZZ_S) -timeout=2 -rss_limit_mb=2048 \
	  -max_len=40000 -artifact_prefix=$(FUZZ)/$$part- $(FUZZ)/found-$$part $(FUZZ)/$$part || exit 1; done

# make gate         train and convert the gate (DATA=folder of its sources, [WEIGHTS=FILE])
DATA ?= $(LESIONEDGE_DATA)
gate: $(VENV)/.dev
	$(BIN)/python -m train fit gate --data "$(DATA)" --out runs/gate $(if $(WEIGHTS),--weights "$(WEIGHTS)")
	$(BIN)/python -m convert export runs/gate --format int8 -o runs/gate/gate-int8.tflite
	$(BIN)/python -m train.gate calibrate runs/gate/gate-int8.tflite --run runs/gate --data "$(DATA)"
	$(BIN)/python -m convert export runs/gate --format int8 -o lesionedge/models/gate-int8.tflite
	$(BIN)/python -m train.gate evaluate --data "$(DATA)"

# make clean        remove what the others made, but runs/
clean:
	rm -rf $(VENV) $(FUZZ) .venv-* build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage*

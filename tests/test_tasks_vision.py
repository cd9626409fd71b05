"""MediaPipe's web runtime predicts ``vectors.json``: what the guide says of MediaPipe holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from chromium import launched
from serving import static

from lesionedge.description import EMBEDDED

HERE = Path(__file__).parent
MODELS = HERE.parent / "lesionedge" / "models"
PACKAGES = HERE.parent / "app" / ".packages"
FOLDERS = sorted(PACKAGES.glob("mediapipe-tasks-vision-*"))
if not FOLDERS:
    pytest.skip(
        "needs @mediapipe/tasks-vision: python app/build.py --peer", allow_module_level=True
    )

PAGE = """<!doctype html>
<script src="port.js"></script>
<script type="module">
import { FilesetResolver, ImageClassifier } from "./vision_bundle.mjs";
const files = await FilesetResolver.forVisionTasks("./wasm");
const classifiers = {};
const load = (model) => ImageClassifier.createFromOptions(files, {
    baseOptions: { modelAssetPath: `./${model}.tflite` }, runningMode: "IMAGE",
});
window.predict = async (vector) => {
    classifiers[vector.model] ??= await load(vector.model);
    const image = drawn(vector);
    const side = Math.min(vector.width, vector.height);
    const square = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
    const [left, top] = [(vector.width - side) / 2, (vector.height - side) / 2];
    square.putImageData(image, -left, -top);
    const whole = square.getImageData(0, 0, side, side);
    const ofModel = { mobilenetv2: 224, cnn: 128 }[vector.model];
    const options = { resizeWidth: ofModel, resizeHeight: ofModel, resizeQuality: "high" };
    const small = await createImageBitmap(whole, options);
    const by = (image) => Object.fromEntries(
        classifiers[vector.model].classify(image).classifications[0].categories
            .map((one) => [one.categoryName, one.score]));
    return { sha256: await digest(image.data, 4), whole: by(whole), small: by(small) };
};
document.documentElement.dataset.ready = "yes";
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("page")
    (made / "index.html").write_text(PAGE)
    shutil.copy(HERE / "port.js", made)
    shutil.copy(FOLDERS[-1] / "vision_bundle.mjs", made)
    shutil.copytree(FOLDERS[-1] / "wasm", made / "wasm")
    for name in ("mobilenetv2", "cnn"):
        shutil.copy(MODELS / EMBEDDED[name], made / f"{name}.tflite")
    return made


def test_it_predicts_the_vectors(folder):
    """Equal where the image has the size of the model's input.

    MediaPipe resizes without a filter against aliasing, and the vectors have fine patterns: it is
    far apart there, and closer where the browser resizes first.
    """
    apart = {"whole": [], "small": []}
    content = json.loads((HERE / "vectors.json").read_text())
    with static(folder) as (_, url), launched() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(url)
        page.wait_for_function("() => document.documentElement.dataset.ready")
        for one in content["vectors"]:
            found = page.evaluate("vector => predict(vector)", one)
            assert found["sha256"] == one["sha256"]
            wanted = dict(zip(content["labels"][one["model"]], one["probabilities"]))
            for kind, differences in apart.items():
                assert set(found[kind]) == set(wanted)
                most = max(abs(found[kind][label] - p) for label, p in wanted.items())
                if one["sha256"] == one["model_input_sha256"]:
                    assert most < 1e-6
                else:
                    differences.append(most)
    assert max(apart["small"]) < 0.3
    assert np.mean(apart["small"]) < np.mean(apart["whole"])

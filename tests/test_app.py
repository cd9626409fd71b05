"""The phone's app (``make app``) in a real browser, compared with Python."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "corpus"))

import make_corpus
import make_vectors
import numpy as np
import pytest
from app_page import APP, kept, ready, results
from chromium import CAMERAS, launched, severe
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from serving import serving, static

from lesionedge import Classifier, profile, wording
from lesionedge.explanation import explain
from lesionedge.reliability import Gate

pytest.importorskip("fastapi", reason="needs lesionedge[web]")
HERE = Path(__file__).parent
ROOT = HERE.parent
EXAMPLE = ROOT / "examples" / "synthetic_lesion.jpg"
MOST_BYTES = 6_000_000


@pytest.fixture(scope="module")
def browser():
    with launched() as running:
        yield running


@pytest.fixture(scope="module")
def server():
    with serving("--app", APP, "--jobs", "1") as running:
        yield running


@pytest.fixture
def open_app(browser):
    """Opens the app; at the end checks that it reached only its server and nothing was blocked."""
    contexts, faults = [], []

    def opened(
        url, *, width=1100, height=900, scheme="light", locale="en-GB", script=None, **options
    ):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale,
            permissions=["camera"], **options,
        )  # fmt: skip
        contexts.append(context)
        if script:
            context.add_init_script(f"({script})()")
        page = context.new_page()
        page.set_default_timeout(90_000)
        origin = "/".join(url.split("/")[:3])
        own = (url, f"blob:{origin}/")
        context.on("request", lambda r: r.url.startswith(own) or faults.append(f"asked {r.url}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda m: faults.append(m.text) if "Content Security" in m.text else None
        )
        page.goto(url)
        ready(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


ASK = """async ([model, encoded]) => {
    const base = document.querySelector('script[type=module]').src;
    const engine = await import(new URL('engine.js', base));
    const blob = new Blob([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))]);
    const input = await engine.input(model, blob);
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', input));
    const sha256 = [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    return { sha256, ...await engine.classify(model, blob) };
}"""


def asked(page, model, content):
    """Return the app's result for a file, with the hash of the model's input."""
    return page.evaluate(ASK, [model, base64.b64encode(content).decode()])


# --- parity


def test_100_images_equal_python(open_app, server, tmp_path):
    wanted = make_vectors.write(tmp_path)
    page = open_app(f"{server.url}app/")
    assert page.evaluate("document.body.dataset.ready") == "threaded"
    codes = set()
    for one in wanted:
        found = asked(page, one["model"], (tmp_path / one["file"]).read_bytes())
        assert found["sha256"] == one["sha256"], one["file"]
        same_prediction(found, one)
        codes.update(one["warning_codes"])
    assert len(wanted) == 100
    assert {"dark", "bright", "blurred", "cut-off", "hair", "glare", "not-a-lesion"} <= codes


def same_prediction(found, wanted):
    for key in ("label", "reliable", "warnings", "warning_codes"):
        assert found[key] == wanted[key], key
    assert [c["label"] for c in found["top"]] == [c["label"] for c in wanted["top"]]
    numbers = [c["probability"] for c in found["top"]]
    assert numbers == pytest.approx([c["probability"] for c in wanted["top"]], abs=1e-6)
    assert found["malignant_probability"] == pytest.approx(
        wanted["malignant_probability"], abs=1e-6
    )
    assert found["operating_point"] == wanted["operating_point"]


PORT = """async (vector) => {
    const base = document.querySelector('script[type=module]').src;
    const engine = await import(new URL('engine.js', base));
    const image = drawn(vector);
    const input = await engine.input(vector.model, await createImageBitmap(image));
    const found = await engine.classify(vector.model, await createImageBitmap(image));
    return {
        sha256: await digest(image.data, 4), model_input_sha256: await digest(input, 3),
        reliable: found.reliable,
        probabilities: Object.fromEntries(found.top.map((one) => [one.label, one.probability])),
    };
}"""


def test_the_app_predicts_the_vectors_for_ports(open_app, server):
    vectors = json.loads((HERE / "vectors.json").read_text())
    page = open_app(f"{server.url}app/")
    page.evaluate((HERE / "port.js").read_text() + "Object.assign(window, { drawn, digest })")
    threshold = Gate().threshold
    for one in vectors["vectors"]:
        found = page.evaluate(PORT, one)
        for key in ("sha256", "model_input_sha256"):
            assert found[key] == one[key]
        assert found["reliable"] == (one["gate"][0] >= threshold)
        wanted = dict(zip(vectors["labels"][one["model"]], one["probabilities"]))
        assert found["probabilities"] == pytest.approx(wanted, abs=1e-6)


def test_without_threads_from_a_static_host_predictions_are_the_same(open_app, tmp_path):
    content = encoded(make_vectors.image(0))
    with static(APP) as (_, url):
        page = open_app(url)
        assert page.evaluate("document.body.dataset.ready") == "plain"
        assert page.evaluate("crossOriginIsolated") is False
        wanted = Classifier("cnn", threads=1).classify(content).to_dict()
        same_prediction(asked(page, "cnn", content), wanted)


def test_the_build_for_old_browsers_predicts_the_same(open_app, tmp_path):
    """Safari lacks wide SIMD; here the app's check for it is made to fail."""
    folder = tmp_path / "app"
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("*.gz"))
    runtime = next(folder.glob("*/vendor/litert.js"))
    code = runtime.read_text()
    assert code.count("await WebAssembly.instantiate(wasm);") == 1
    runtime.write_text(
        code.replace("await WebAssembly.instantiate(wasm);", 'throw new Error("no SIMD");')
    )
    content = encoded(make_vectors.image(3))
    with static(folder) as (_, url):
        page = open_app(url)
        assert page.evaluate("document.body.dataset.ready") == "compat"
        for name in ("cnn", "mobilenetv2"):
            wanted = Classifier(name, threads=1).classify(content).to_dict()
            same_prediction(asked(page, name, content), wanted)


OLDER = """
    const decode = self.createImageBitmap;
    self.createImageBitmap = async (...given) => {
        if (given[1]?.imageOrientation === "from-image") throw new TypeError("unknown value");
        return decode(...given);
    };
    delete Object.hasOwn;
"""


def test_it_works_in_chrome_88(open_app, tmp_path, images):
    """What Chrome got later is taken away here."""
    folder = tmp_path / "app"
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("*.gz"))
    worker = next(folder.glob("*/worker.js"))
    worker.write_text(f"{{{OLDER}}}\n{worker.read_text()}")
    with static(folder) as (_, url):
        page = open_app(url, script=f"() => {{{OLDER}}}")
        page.locator("#settings summary").click()
        page.check("#keep")
        page.set_input_files("#files", str(images / "lesion.png"))
        assert results(page).locator(".headline").count() == 1
        page.locator("#history-list img").wait_for()
        with page.expect_download():
            page.get_by_role("button", name="Save the image").click()


INPUT = """async ([model, encoded]) => {
    const base = document.querySelector('script[type=module]').src;
    const engine = await import(new URL('engine.js', base));
    const blob = new Blob([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))]);
    const input = await engine.input(model, blob);
    return Array.from(input, (level) => String.fromCharCode(level)).join('');
}"""


def input_of(page, model, content):
    """Return the exact pixels that the app gives to a model."""
    found = page.evaluate(INPUT, [model, base64.b64encode(content).decode()])
    return np.frombuffer(found.encode("latin-1"), np.uint8).astype(int)


def test_turned_jpegs_are_upright_and_close_to_pillow(open_app, server):
    """Browsers round otherwise when they decode JPEGs: by less than one level on average."""
    page = open_app(f"{server.url}app/")
    classifier = Classifier("cnn")
    for orientation in range(1, 9):
        content = turned("JPEG", orientation, quality=95)
        wanted = classifier.model_input(content).ravel()
        assert np.abs(input_of(page, "cnn", content) - wanted).mean() < 1, orientation


def turned(kind, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(make_vectors.image(0).resize((300, 200)), kind, exif=exif, **options)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_turned_pngs_and_webps_are_upright(open_app, server, kind):
    """Browsers differ in what they do with their EXIF, so the app does it."""
    page = open_app(f"{server.url}app/")
    classifier = Classifier("cnn")
    options = {"lossless": True} if kind == "WEBP" else {}
    for orientation in range(10):
        content = turned(kind, orientation, **options)
        wanted = classifier.model_input(content).ravel()
        assert np.array_equal(input_of(page, "cnn", content), wanted), orientation
    files = [{"name": "turned", "mimeType": "image/png", "buffer": turned(kind, 6, **options)}]
    page.set_input_files("#files", files)
    results(page)
    page.wait_for_function("() => document.querySelector('.preview').naturalWidth === 200")


def test_an_orientation_in_xmp_or_beside_damaged_exif(open_app, server):
    page = open_app(f"{server.url}app/")
    image, classifier = make_vectors.image(0).resize((300, 200)), Classifier("cnn")
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    about = PngInfo()
    about.add_itxt("XML:com.adobe.xmp", xmp.decode())
    for content in (
        encoded(image, "WEBP", lossless=True, xmp=xmp),
        encoded(image, "PNG", pnginfo=about),
        encoded(image, "PNG", exif=b"MM\0*\xff\xff\xff\xff"),
        encoded(image, "PNG", exif=b"MM"),
        encoded(image, "PNG", pnginfo=written("XML:com.adobe.xmp", xmp.decode(), packed=True)),
        encoded(image, "PNG", pnginfo=written(PROFILE, raw_profile(6))),
        encoded(image, "PNG", pnginfo=written(PROFILE, raw_profile(6), packed=True)),
        encoded(image, "PNG", pnginfo=written(PROFILE, raw_profile(6)), exif=b"MM"),
        encoded(image, "PNG", pnginfo=written(PROFILE, "no number")),
    ):
        wanted = classifier.model_input(content).ravel()
        assert np.array_equal(input_of(page, "cnn", content), wanted)
    exif = Image.Exif()
    exif[0x0112] = 3
    for options in ({"xmp": xmp}, {"xmp": xmp, "exif": exif}):
        content = encoded(image, "JPEG", quality=95, **options)
        wanted = classifier.model_input(content).ravel()
        assert np.abs(input_of(page, "cnn", content) - wanted).mean() < 1, options


PROFILE = "Raw profile type exif"


def written(keyword, text, *, packed=False):
    """Return a PNG's text, as ImageMagick and Photoshop write EXIF and XMP."""
    about = PngInfo()
    if keyword == PROFILE:
        about.add_text(keyword, text, zip=packed)
    else:
        about.add_itxt(keyword, text, zip=packed)
    return about


def raw_profile(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    lines = [content.hex()[at : at + 72] for at in range(0, 2 * len(content), 72)]
    return "\n".join(["", "exif", f"{len(content):8}", *lines, ""])


# --- the corpus

UNREAD = {
    "adobe-rgb.tif", "planar-16.tif", "big-endian-16.tif", "lzw.tif", "deflated-8.tif", "photo.ppm",
    "photo.tga", "white-is-zero-16.tif", "photo.jp2", "iphone.heic", "clinic.dcm",
    "clear-everywhere.png",
}  # fmt: skip
"""Files of the corpus that Chromium or the app does not read, and Python does."""


def test_files_of_the_corpus_are_read_as_python_does_or_are_clear_errors(open_app, server):
    """One after the other in one page, which goes on after each."""
    page = open_app(f"{server.url}app/")
    classifier = Classifier("cnn", threads=1)
    corpus = make_corpus.everything()
    given = [
        {"name": name, "mimeType": "image/png", "buffer": content}
        for name, (content, _) in corpus.items()
    ]
    page.set_input_files("#files", given)
    cards = results(page, len(corpus))
    for name, (content, expected) in corpus.items():
        card = cards.filter(has=page.get_by_role("heading", name=name, exact=True))
        if expected.error is not None or name in UNREAD:
            fault = card.locator(".fault").inner_text()
            assert fault.startswith("Failed: ")
            assert "a fault of the app" not in fault, name
            assert any(words in fault for words in CLEAR), name
            continue
        assert card.locator(".headline").count() == 1, name
        wanted = classifier.model_input(content).ravel()
        assert np.abs(input_of(page, "cnn", content) - wanted).mean() <= expected.levels, name


CLEAR = (
    "not an image that can be read", "this browser cannot read it", "damaged or cut short",
    "is empty (0 bytes)", "8x8 px is too small", "all of it is transparent",
)  # fmt: skip


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# --- site profiles


@cache
def site_profile(name, *, of="malignant", count=400):
    """Make a profile for an embedded model, of drawn predictions and what is true of them."""
    pytest.importorskip("scipy", reason="calibration needs the extra evaluate")
    from lesionedge.calibration.sample import Sample
    from lesionedge.calibration.site import make

    owner = Classifier(name)
    kinds = [one.malignant for one in owner.diagnoses]
    rng = np.random.default_rng(count)
    shown = rng.dirichlet(np.full(len(kinds), 0.4), count)
    true = shown**0.6 / (shown**0.6).sum(1, keepdims=True)
    classes = np.array([rng.choice(len(kinds), p=row) for row in true])
    sample = Sample(shown, classes, np.array(kinds)[classes].astype(np.int64), np.arange(count))
    found = profile.Owner(name, profile.digest(owner.path), owner.labels, tuple(kinds))
    return make(sample, found, owner.card, name=f"clinic {of}", of=of)


AS_ASKED = """async ([model, encoded, written]) => {
    const base = document.querySelector('script[type=module]').src;
    const engine = await import(new URL('engine.js', base));
    const { read } = await import(new URL('profile.js', base));
    const blob = new Blob([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))]);
    return engine.classify(model, blob, read(written));
}"""


@pytest.mark.parametrize(
    ("model", "of", "count"),
    [("mobilenetv2", "malignant", 400), ("cnn", "mel", 400), ("cnn", "malignant", 40)],
)
def test_a_site_profile_does_what_it_does_in_python(open_app, server, model, of, count):
    """With 40 images, too few for a guarantee, the threshold stays the model card's."""
    site = site_profile(model, of=of, count=count)
    page = open_app(f"{server.url}app/")
    classifier = Classifier(model, threads=1, profile=site)
    for number in range(10):
        content = encoded(make_vectors.image(number))
        wanted = classifier.classify(content).to_dict()
        given = [model, base64.b64encode(content).decode(), site.to_json()]
        found = page.evaluate(AS_ASKED, given)
        same_prediction(found, wanted)
        assert found["profile"] == wanted["profile"]


def test_recalibration_is_python_s_for_any_probabilities(open_app, server):
    """Also zeros, ones, steep temperatures and a profile that knows of no malignant classes."""
    rng = np.random.default_rng(1)
    rows = np.vstack([rng.dirichlet(np.full(7, share), 50) for share in (0.05, 0.5, 5)])
    rows = np.vstack([rows, np.eye(7)]).astype(np.float32)
    page = open_app(f"{server.url}app/")
    usual = site_profile("mobilenetv2")
    for change in ({}, {"between": None}, {"temperatures": (0.005,) * 7}):
        site = replace(usual, recalibration=replace(usual.recalibration, **change))
        found = page.evaluate(
            """async ([rows, written]) => {
                const base = document.querySelector('script[type=module]').src;
                const { read, recalibrated } = await import(new URL('profile.js', base));
                return rows.map((row) => recalibrated(read(written), row));
            }""",
            [rows.tolist(), site.to_json()],
        )
        wanted = site.recalibration.apply(rows).astype("f4")
        assert np.abs(np.array(found) - wanted).max() < 1e-7


def test_a_site_profile_is_chosen_kept_and_removed(open_app, server, images, tmp_path):
    site = tmp_path / "site.json"
    site.write_text(site_profile("mobilenetv2").to_json())
    page = open_app(f"{server.url}app/")
    page.locator("#settings summary").click()
    page.set_input_files("#profile", str(site))
    page.get_by_text("The site profile clinic malignant is used from now on.").wait_for()
    assert page.inner_text("#model-name") == "Model: mobilenetv2, profile clinic malignant."
    page.set_input_files("#files", str(images / "lesion.png"))
    wanted = Classifier(profile=site).classify(images / "lesion.png")
    risk = wording.risk(wanted)
    assert risk.endswith("by profile clinic malignant")
    shown = results(page).first
    assert shown.locator(".malignant").inner_text() == risk[0].upper() + risk[1:]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    row = next(csv.DictReader(Path(saved.value.path()).read_text().splitlines()))
    assert row["profile"] == "clinic malignant"
    shown.get_by_role("button", name="Heat map").click()
    shown.locator("canvas.heat").wait_for(state="visible")
    page.reload()
    ready(page)
    assert "profile clinic malignant" in page.inner_text("#model-name")
    page.locator("#settings summary").click()
    page.select_option("#model", "cnn")
    page.wait_for_function(
        "() => document.getElementById('model-name').textContent === 'Model: cnn.'"
    )
    page.select_option("#model", "mobilenetv2")
    page.get_by_role("button", name="Remove the site profile").click()
    assert page.inner_text("#model-name") == "Model: mobilenetv2."
    assert page.inner_text("#profile-name") == "none"


def spoiled(*places_and_values):
    content = json.loads(site_profile("mobilenetv2").to_json())
    for (*way, last), value in places_and_values:
        node = content
        for key in way:
            node = node[key]
        node[last] = value
    return json.dumps(content)


def test_wrong_site_profiles_are_refused(open_app, server, tmp_path):
    bias = ("recalibration", "classes", "mel", "bias")
    texts = {
        "made for the model cnn (": site_profile("cnn").to_json(),
        "(wrong or missing: format)": "no JSON",
        "(wrong or missing: recalibration.classes)": spoiled((("recalibration",), None)),
        "(wrong or missing: recalibration.classes.mel.bias)": spoiled((bias, "x")),
        "(wrong or missing: recalibration.malignant.temp": spoiled(
            (("recalibration", "malignant", "temperature"), 0)
        ),
        "(wrong or missing: operating_points[0].guaranteed)": spoiled(
            (("operating_points", 0, "guaranteed"), 1)
        ),
        "made with views 4": spoiled((("model", "views"), 4)),
        "(wrong or missing: size)": spoiled((("data", "more"), "x" * 1_000_000)),
    }  # fmt: skip
    page = open_app(f"{server.url}app/")
    for number, (words, text) in enumerate(texts.items()):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        page.set_input_files("#profile", str(path))
        page.wait_for_function(
            "words => document.getElementById('status').textContent.includes(words)", arg=words
        )
        assert page.inner_text("#model-name") == "Model: mobilenetv2."


# --- the page


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    make_vectors.image(0).save(folder / "lesion.png")
    Image.new("RGB", (300, 200), "white").save(folder / "page.png")
    (folder / "notes.jpg").write_text("these are no pixels")
    return folder


def test_several_images_with_a_damaged_one(open_app, server, images):
    page = open_app(f"{server.url}app/")
    names = ["lesion.png", "page.png", "notes.jpg"]
    page.set_input_files("input[type=file] >> nth=0", [str(images / name) for name in names])
    cards = results(page, 3)
    bad = cards.filter(has_text="notes.jpg").locator(".fault").inner_text()
    assert bad == "Failed: not an image that can be read (JPEG, PNG, …)"
    wanted = Classifier().classify(images / "lesion.png")
    shown = cards.filter(has_text="lesion.png")
    assert shown.locator(".headline").inner_text() == (
        f"{wanted.name} ({wanted.label}), {wording.percent(wanted.probability)}"
    )
    risk = wording.risk(wanted)
    assert shown.locator(".malignant").inner_text() == risk[0].upper() + risk[1:]
    bars = shown.locator(".bars tbody .percent").all_inner_texts()
    assert bars == [wording.percent(c.probability) for c in wanted.top]
    refused = cards.filter(has_text="page.png")
    assert refused.locator(".headline").inner_text() == wording.CANNOT_TELL
    assert refused.locator(".malignant").count() == 0
    assert not refused.locator(".bars").is_visible()
    remarks = [str(one) for one in Classifier().classify(images / "page.png").warnings]
    warnings = refused.locator(".warning").all_inner_texts()
    assert warnings == [f"Warning: {one}" for one in remarks]
    assert page.inner_text("#status") == "2 of 3 images classified, 1 failed."
    page.get_by_role("button", name="Remove lesion.png").click()
    assert cards.count() == 2
    page.get_by_role("button", name="Remove all").click()
    assert cards.count() == 0


def test_saved_results_equal_those_of_the_command_line(open_app, server, images, cli_run):
    page = open_app(f"{server.url}app/")
    page.set_input_files("#files", [str(images / "lesion.png"), str(images / "notes.jpg")])
    results(page, 2)
    own = cli_run("predict", images / "lesion.png", "--format", "csv").stdout.splitlines()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    text = Path(saved.value.path()).read_text().splitlines()
    assert text[0] == own[0]
    found, wanted = next(csv.DictReader(text)), next(csv.DictReader(own))
    assert found["path"] == "lesion.png"
    for key in ("label", "name", "reliable", "warnings", "error"):
        assert found[key] == wanted[key], key
    for key in (key for key in wanted if key.startswith("p_")):
        assert float(found[key]) == pytest.approx(float(wanted[key]), abs=1e-6)
    assert "not an image" in list(csv.DictReader(text))[1]["error"]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download JSON").click()
    found = json.loads(Path(saved.value.path()).read_text())
    assert found["note"] == wording.RESEARCH_USE
    wanted = Classifier().classify(images / "lesion.png").to_dict("lesion.png")
    assert set(found["results"][0]) == set(wanted)
    same_prediction(found["results"][0], wanted)


def test_the_heat_map_equals_python(open_app, server, images):
    page = open_app(f"{server.url}app/")
    page.locator("#settings summary").click()
    page.select_option("#model", "cnn")
    page.set_input_files("#files", str(images / "lesion.png"))
    card = results(page).first
    wanted = explain(images / "lesion.png", model="cnn")
    run = """async ([encoded]) => {
        const base = document.querySelector('script[type=module]').src;
        const engine = await import(new URL('engine.js', base));
        const blob = new Blob([Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0))]);
        const options = { label: null, progress: () => {} };
        const asked = engine.explain('cnn', blob, options);
        const second = engine.explain('cnn', blob, options);
        second.cancel();
        return { cancelled: await second.promise, cells: [...(await asked.promise).cells] };
    }"""
    content = (images / "lesion.png").read_bytes()
    found = page.evaluate(run, [base64.b64encode(content).decode()])
    assert found["cancelled"] is None
    assert found["cells"] == pytest.approx(wanted.cells.ravel().tolist(), abs=1e-6)
    card.get_by_role("button", name="Heat map").click()
    card.locator("canvas.heat").wait_for(state="visible")
    size = card.locator("canvas.heat").evaluate("canvas => [canvas.width, canvas.height]")
    assert size[0] >= 360
    assert size[1] > size[0] * 450 / 600
    assert not card.locator(".preview").is_visible()
    with page.expect_download() as saved:
        card.get_by_role("button", name="Save the image").click()
    assert saved.value.suggested_filename == "lesion-lesionedge.png"
    with Image.open(saved.value.path()) as drawn:
        assert drawn.width == 600
        assert drawn.height > 450


PIXEL = """([place, ...at]) => {
    const source = document.querySelector(place);
    const { naturalWidth: width = source.width, naturalHeight: height = source.height } = source;
    const context = new OffscreenCanvas(width, height).getContext('2d');
    context.drawImage(source, 0, 0);
    return [...context.getImageData(...at, 1, 1).data].slice(0, 3);
}"""


def test_the_heat_map_lies_over_grey_in_safari(open_app, server, images):
    """Safari's canvas has no filters."""
    script = "() => { delete CanvasRenderingContext2D.prototype.filter; }"
    page = open_app(f"{server.url}app/", script=script)
    page.select_option("#model", "cnn", force=True)
    page.set_input_files("#files", str(images / "lesion.png"))
    card = results(page).first
    card.get_by_role("button", name="Heat map").click()
    card.locator("canvas.heat").wait_for(state="visible")
    with Image.open(images / "lesion.png") as image:
        wanted = image.convert("L").getpixel((20, 200))
    found = page.evaluate(PIXEL, ["canvas.heat", 20, 200])
    assert max(found) - min(found) <= 1
    assert found[0] == pytest.approx(wanted, abs=3)


def test_transparency_is_drawn_over_white_as_it_is_classified(open_app, server):
    image = make_vectors.image(0).convert("RGBA")
    image.paste((200, 0, 0, 0), (0, 0, 600, 60))
    page = open_app(f"{server.url}app/")
    page.locator("#settings summary").click()
    page.check("#keep")
    given = {"name": "clear.png", "mimeType": "image/png", "buffer": encoded(image)}
    page.set_input_files("#files", given)
    results(page)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the image").click()
    with Image.open(saved.value.path()) as drawn:
        assert drawn.convert("RGB").getpixel((20, 30)) == (255, 255, 255)
    page.locator("#history-list img").wait_for()
    assert min(page.evaluate(PIXEL, ["#history-list img", 80, 5])) > 245


def test_an_image_that_cannot_be_saved_is_reported(open_app, server, images):
    page = open_app(f"{server.url}app/")
    page.set_input_files("#files", str(images / "page.png"))
    results(page)
    page.evaluate(
        "() => { HTMLCanvasElement.prototype.toBlob = () => { throw Error('no memory'); }; }"
    )
    page.get_by_role("button", name="Save the image").click()
    page.get_by_text("no memory").wait_for()


def test_the_camera_guides_the_aim_and_takes_a_photo(open_app, server):
    page = open_app(f"{server.url}app/")
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#aim-warnings li").first.wait_for()
    assert page.inner_text("#aim")
    video = page.locator("#video").evaluate(
        "v => [v.clientWidth, v.clientHeight, v.videoWidth, v.videoHeight]"
    )
    frame = page.locator("#frame").bounding_box()
    scale = min(video[0] / video[2], video[1] / video[3])
    assert frame["width"] == pytest.approx(min(video[2:]) * scale, abs=2)
    assert frame["width"] == pytest.approx(frame["height"], abs=1)
    page.get_by_role("button", name="Take the photo").click()
    assert results(page).first.locator("h3").inner_text().startswith("camera ")
    page.get_by_role("button", name="Close the camera").click()
    assert page.locator("#viewfinder").is_hidden()
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_a_camera_is_opened_once_and_may_be_unplugged(open_app, server):
    page = open_app(f"{server.url}app/", script=CAMERAS)
    button = page.get_by_role("button", name="Use the camera")
    button.evaluate("button => { button.click(); button.click(); }")
    page.locator("#aim-warnings li").first.wait_for()
    button.click()
    page.wait_for_function(
        "() => document.getElementById('video').srcObject.getTracks()[0] === window.tracks[1]"
    )
    assert page.evaluate("tracks.map((one) => one.readyState)") == ["ended", "live"]
    page.evaluate("tracks[1].dispatchEvent(new Event('ended'))")
    assert page.locator("#viewfinder").is_hidden()
    assert page.inner_text("#status").startswith("The camera stopped: it was unplugged")
    assert page.evaluate("tracks[1].readyState") == "ended"


def test_the_zoom_of_a_camera_that_has_one(open_app, server):
    page = open_app(f"{server.url}app/")
    session = page.context.new_cdp_session(page)
    context = session.send("Target.getTargetInfo")["targetInfo"]["browserContextId"]
    given = ["cameraPanTiltZoom", "videoCapture"]
    session.send("Browser.grantPermissions", {"permissions": given, "browserContextId": context})
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#zoom").wait_for(state="visible")
    page.locator("#zoom").fill("300")
    page.wait_for_function(
        "() => document.getElementById('video').srcObject.getVideoTracks()[0].getSettings().zoom "
        "=== 300"
    )
    assert page.locator("#torch").is_hidden()  # this one has no light


DIM = """() => {
    const { prototype } = MediaStreamTrack;
    prototype.getCapabilities = () => ({ torch: true });
    prototype.applyConstraints = async () => {
        if (!window.works) throw new DOMException("no light now", "OperationError");
    };
}"""


def test_a_light_that_does_not_go_on_is_not_shown_as_on(open_app, server):
    page = open_app(f"{server.url}app/", script=DIM)
    page.get_by_role("button", name="Use the camera").click()
    light = page.get_by_role("button", name="Light")
    light.click()
    page.get_by_text("The camera refuses that: no light now").wait_for()
    assert light.get_attribute("aria-pressed") == "false"
    page.evaluate("window.works = true")
    light.click()
    page.wait_for_function("() => document.querySelector('#torch[aria-pressed=true]')")


def test_pasted_and_dropped_images(open_app, server, images):
    page = open_app(f"{server.url}app/")
    content = base64.b64encode((images / "page.png").read_bytes()).decode()
    for number, (kind, name) in enumerate((("paste", "clipboardData"), ("drop", "dataTransfer"))):
        page.evaluate(
            """([encoded, kind, name]) => {
                const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
                const carried = new DataTransfer();
                carried.items.add(new File([bytes], `${kind}.png`, { type: "image/png" }));
                const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
                const options = { [name]: carried, bubbles: true, cancelable: true };
                document.getElementById("drop").dispatchEvent(new Kind(kind, options));
            }""",
            [content, kind, name],
        )
        assert results(page, number + 1).first.locator("h3").inner_text() == f"{kind}.png"


SHARE = """() => {
    navigator.canShare = ({ files }) => files.length === 1;
    navigator.share = async (given) => {
        const { name, type } = given.files[0];
        window.shared = [name, type, (await given.files[0].text()).slice(0, 10), given.text];
    };
}"""


def test_results_go_to_the_share_sheet(open_app, server, images):
    """The sheet is the system's: here the page's call of it is recorded."""
    page = open_app(f"{server.url}app/", script=SHARE)
    page.set_input_files("#files", str(images / "lesion.png"))
    results(page)
    note = wording.RESEARCH_USE
    page.get_by_role("button", name="Share CSV").click()
    page.wait_for_function("() => window.shared")
    assert page.evaluate("shared") == ["lesionedge.csv", "text/csv", "path,label", note]
    page.get_by_role("button", name="Share", exact=True).click()
    page.wait_for_function("() => window.shared[1] === 'image/png'")
    assert page.evaluate("shared")[0] == "lesion-lesionedge.png"


def test_the_history_is_kept_only_on_request(open_app, server, images):
    page = open_app(f"{server.url}app/")
    page.set_input_files("#files", str(images / "page.png"))
    results(page)
    assert page.locator("#history").is_hidden()
    assert page.evaluate("indexedDB.databases()") == []
    page.locator("#settings summary").click()
    page.check("#keep")
    page.get_by_text("No results are kept yet.").wait_for()
    page.set_input_files("#files", str(images / "lesion.png"))
    page.locator("#history-list img").wait_for()
    page.reload()
    ready(page)
    page.locator("#history-list img").wait_for()
    assert "lesion.png" in page.inner_text("#history-list")
    page.get_by_role("button", name="Delete the history").click()
    page.get_by_text("No results are kept yet.").wait_for()
    assert page.locator("#history-list img").count() == 0


def test_a_full_storage_stops_only_the_history(open_app, server, images):
    page = open_app(f"{server.url}app/")
    page.locator("#settings summary").click()
    page.check("#keep")
    page.get_by_text("No results are kept yet.").wait_for()
    session = page.context.new_cdp_session(page)
    origin = f"http://127.0.0.1:{server.port}"
    session.send("Storage.overrideQuotaForOrigin", {"origin": origin, "quotaSize": 1})
    page.set_input_files("#files", str(images / "lesion.png"))
    page.wait_for_function(
        "() => document.getElementById('status').textContent.includes('history cannot be used')"
    )
    page.set_input_files("#files", str(images / "page.png"))
    results(page, 2)


def test_the_history_can_be_deleted_after_it_is_switched_off(open_app, server, images):
    page = open_app(f"{server.url}app/")
    page.locator("#settings summary").click()
    page.check("#keep")
    page.set_input_files("#files", str(images / "lesion.png"))
    page.locator("#history-list img").wait_for()
    page.uncheck("#keep")
    page.reload()
    ready(page)
    page.locator("#history-list img").wait_for()
    page.get_by_role("button", name="Delete the history").click()
    page.locator("#history").wait_for(state="hidden")
    assert page.inner_text("#status") == "The history is deleted."


BLOCKED = """() => {
    const blocked = () => { throw new DOMException("blocked", "SecurityError"); };
    Object.defineProperty(window, "localStorage", { get: blocked });
    IDBFactory.prototype.open = blocked;
}"""


def test_without_storage_and_service_worker_it_still_classifies(open_app, tmp_path, images):
    folder = tmp_path / "app"
    shutil.copytree(APP, folder)
    (folder / "sw.js").unlink()
    with static(folder) as (_, url):
        page = open_app(url, script=BLOCKED)
        kept(page)
        assert page.inner_text("#offline").startswith("Not ready for use without a network: ")
        page.locator("#settings summary").click()
        page.check("#keep")
        page.get_by_text("the history cannot be used: blocked").wait_for()
        page.set_input_files("#files", str(images / "page.png"))
        assert results(page).first.locator(".headline").inner_text() == wording.CANNOT_TELL
        page.select_option("#language", "de")
        assert "Nur für die Forschung" in page.inner_text("footer")


def without_facts(page, server):
    """Open the app, and hold its first request for what it knows of the models."""
    held = []

    def hold_the_first(route):
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/facts.json", hold_the_first)
    page.goto(f"{server.url}app/")
    page.wait_for_function("() => document.getElementById('status').textContent")
    return held


def test_an_image_chosen_before_the_model_is_known(browser, server, images):
    page = browser.new_page()
    held = without_facts(page, server)
    page.set_input_files("#files", str(images / "page.png"))
    page.get_by_text("Waiting for the prediction").wait_for()
    page.select_option("#language", "de", force=True)
    held[0].continue_()
    shown = results(page).first.locator(".headline").inner_text()
    assert shown == "Nicht zu sagen: kein dermatoskopisches Bild"
    page.close()


def test_a_file_that_is_gone_is_not_a_fault_of_the_app(browser, server, tmp_path):
    gone = tmp_path / "gone.png"
    Image.new("RGB", (300, 200), "white").save(gone)
    page = browser.new_page()
    held = without_facts(page, server)
    page.set_input_files("#files", str(gone))
    gone.unlink()
    held[0].continue_()
    fault = results(page).first.locator(".fault").inner_text()
    assert fault == "Failed: it cannot be read: it was moved, changed or deleted; choose it again"
    page.close()


def test_before_the_models_are_known_no_profile_can_be_chosen(browser, server):
    page = browser.new_page()
    held = without_facts(page, server)
    assert page.locator("#profile").is_disabled()
    held[0].abort()
    page.get_by_text("the model cannot be loaded: the server cannot be reached").wait_for()
    page.reload()
    ready(page)
    assert page.locator("#profile").is_enabled()
    page.close()


def test_code_that_does_not_load_is_an_error_and_is_tried_again(browser, tmp_path, images):
    folder = tmp_path / "app"
    shutil.copytree(APP, folder, ignore=shutil.ignore_patterns("*.gz"))
    code = next(folder.glob("*/work.js"))
    code.rename(tmp_path / "work.js")
    with static(folder) as (_, url):
        page = browser.new_page()
        page.goto(url)
        page.wait_for_function("() => document.body.dataset.ready === 'failed'")
        assert "the model cannot be loaded" in page.inner_text("#status")
        (tmp_path / "work.js").rename(code)
        page.set_input_files("#files", str(images / "page.png"))
        assert results(page).first.locator(".headline").inner_text() == wording.CANNOT_TELL
        page.close()


READS = """() => {
    const read = Blob.prototype.arrayBuffer;
    window.reads = { now: 0, most: 0, bytes: 0 };
    Blob.prototype.arrayBuffer = async function () {
        reads.now += 1;
        reads.most = Math.max(reads.most, reads.now);
        reads.bytes = Math.max(reads.bytes, this.size);
        try {
            return await read.call(this);
        } finally {
            reads.now -= 1;
        }
    };
}"""


def test_files_are_read_one_at_a_time_and_too_large_ones_not_at_all(
    open_app, server, images, tmp_path
):
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(100_000_001)
    page = open_app(f"{server.url}app/", script=READS)
    page.set_input_files("#files", [str(large), *[str(images / "page.png")] * 5])
    cards = results(page, 6)
    assert "101 MB; expected at most 100 MB" in cards.last.locator(".fault").inner_text()
    reads = page.evaluate("reads")
    assert reads["bytes"] < 1_000_000
    assert reads["most"] == 1


def test_another_language(open_app, server, images):
    page = open_app(f"{server.url}app/", locale="de-DE")
    assert page.evaluate("document.documentElement.lang") == "de"
    page.set_input_files("#files", str(images / "page.png"))
    card = results(page).first
    assert card.locator(".headline").inner_text() == "Nicht zu sagen: kein dermatoskopisches Bild"
    assert "Nur für die Forschung" in page.inner_text("footer")
    page.select_option("#language", "en", force=True)
    assert card.locator(".headline").inner_text() == wording.CANNOT_TELL
    keys = page.evaluate("""async () => {
        const base = document.querySelector('script[type=module]').src;
        const { LANGUAGES } = await import(new URL('languages.js', base));
        const { notices, models } = await (await fetch(new URL('facts.json', base))).json();
        const named = [...document.querySelectorAll('[data-text], [data-label]')];
        return {
            languages: Object.values(LANGUAGES).map(({ words }) => Object.keys(words)),
            named: named.map((node) => node.dataset.text ?? node.dataset.label),
            notices: Object.keys(notices), labels: models[0].labels.map(({ label }) => label),
        };
    }""")
    english, german = map(set, keys["languages"])
    assert english - german == {"headline"}  # no words, only numbers and names
    assert set(keys["named"]) <= english
    assert {f"notice-{code}" for code in keys["notices"]} <= german
    assert {f"label-{label}" for label in keys["labels"]} <= german


def test_all_of_the_page_changes_its_language(open_app, server, images):
    page = open_app(f"{server.url}app/")
    kept(page)
    page.set_input_files("#files", [str(images / "notes.jpg"), str(images / "lesion.png")])
    broken = results(page, 2).filter(has_text="notes.jpg").locator(".preview")
    broken.wait_for(state="hidden")
    page.evaluate("""() => {
        [...document.querySelectorAll('.card button')].find(
            (one) => one.textContent === 'Heat map').click();
        const chosen = document.getElementById('language');
        chosen.value = 'de';
        chosen.dispatchEvent(new Event('change'));
    }""")
    assert page.inner_text("#offline") == "Bereit für den Gebrauch ohne Netz."
    assert broken.is_hidden()
    page.wait_for_function(
        "() => document.getElementById('status').textContent.includes('Die Wärmekarte ist ')"
    )
    button = page.get_by_role("button", name="Wärmekarte")
    shown = page.locator("canvas.heat:visible").count() == 1
    assert button.get_attribute("aria-pressed") == str(shown).lower()
    page.get_by_role("button", name="Über das Modell").click()
    assert page.locator("#about-content dd").first.get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1100])
def test_the_page_is_accessible(open_app, server, images, width, scheme):
    page = open_app(f"{server.url}app/", width=width, scheme=scheme, reduced_motion="reduce")
    page.set_input_files("#files", [str(images / "lesion.png"), str(images / "notes.jpg")])
    results(page, 2)
    page.locator("#settings summary").click()
    assert not severe(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    moves = page.locator(".fill").first.evaluate("bar => getComputedStyle(bar).transitionDuration")
    assert moves == "0s"
    page.get_by_role("button", name="About the model").click()
    assert "HAM10000" in page.get_by_role("dialog").inner_text()
    assert not severe(page)


def test_the_keyboard_is_enough(open_app, server, images):
    page = open_app(f"{server.url}app/")
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["about-open", "files", "camera-open"]
    page.set_input_files("#files", str(images / "lesion.png"))
    results(page)
    page.focus(".card .remove")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "files"


def test_hostile_files_are_errors_and_the_page_keeps_working(open_app, server, images):
    page = open_app(f"{server.url}app/")
    png = encoded(make_vectors.image(0).resize((80, 60)))
    jpeg = encoded(make_vectors.image(0).resize((300, 200)), "JPEG")
    bomb = png[:16] + (60_000).to_bytes(4, "big") + (60_000).to_bytes(4, "big") + png[24:]
    clear = encoded(Image.new("RGBA", (50, 50), (200, 100, 50, 0)))
    files = {
        "empty.png": (b"", "is empty (0 bytes)"),
        "text.jpg": (b"no pixels", "not an image that can be read"),
        "cut.png": (png[:-200], "damaged or cut short"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "damaged or cut short"),
        "bomb.png": (bomb, "60000x60000 px is 3600 MP; expected at most 200 MP"),
        "tiny.png": (encoded(Image.new("RGB", (9, 40))), "9x40 px is too small"),
        "damaged.png": (png[:60] + bytes(40) + png[100:], "this browser cannot read it"),
        "clear.png": (clear, "all of it is transparent"),
        "page.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image that can be"),
        "photo.heic": (b"\0\0\0\x18ftypheic" + bytes(200), "this browser cannot read it"),
    }
    given = [{"name": k, "mimeType": "image/png", "buffer": v[0]} for k, v in files.items()]
    page.set_input_files("#files", given)
    cards = results(page, len(files))
    for name, (_, words) in files.items():
        card = cards.filter(has=page.get_by_role("heading", name=name, exact=True))
        assert words in card.locator(".fault").inner_text(), name
    page.set_input_files("#files", str(images / "lesion.png"))
    results(page, len(files) + 1)
    assert page.locator(".card .headline").count() == 1


def test_jpegs_without_an_end_or_with_bytes_between_segments(open_app, server):
    page = open_app(f"{server.url}app/")
    classifier = Classifier("cnn", threads=1)
    whole = encoded(make_vectors.image(0).resize((300, 200)), "JPEG", quality=90)
    tables = whole.index(b"\xff\xdb")
    for content in (whole[:-2], whole[:-2] + bytes(500), whole[:tables] + b"abc" + whole[tables:]):
        wanted = classifier.model_input(content).ravel()
        assert np.abs(input_of(page, "cnn", content) - wanted).mean() < 1
    with pytest.raises(Exception, match="damaged"):
        input_of(page, "cnn", whole[:-300])


def test_bmps_with_an_old_header_and_gifs_without_an_end(open_app, server):
    page = open_app(f"{server.url}app/")
    classifier = Classifier("cnn", threads=1)
    image = make_vectors.image(0).resize((300, 200))
    rows = np.asarray(image)[::-1, :, ::-1].tobytes()
    head = struct.pack("<IHHI", 26 + len(rows), 0, 0, 26)
    old = b"BM" + head + struct.pack("<IHHHH", 12, 300, 200, 1, 24) + rows
    for content in (old, encoded(image, "GIF")[:-1]):
        wanted = classifier.model_input(content).ravel()
        assert np.array_equal(input_of(page, "cnn", content), wanted)


def test_an_animation_has_a_warning(open_app, server):
    page = open_app(f"{server.url}app/")
    frames = [make_vectors.image(0).resize((80, 60)), make_vectors.image(1).resize((80, 60))]
    for kind in ("GIF", "WEBP", "PNG"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert "animated" in asked(page, "cnn", content)["warning_codes"], kind
        assert "animated" not in asked(page, "cnn", encoded(frames[0], kind))["warning_codes"]


# --- without a network


def test_it_works_without_the_server(open_app, images):
    with static(APP) as (_, url):
        page = open_app(url)
        kept(page)
        assert page.inner_text("#offline") == "Ready for use without a network."
    page.context.set_offline(True)
    page.reload()
    ready(page)
    page.set_input_files("#files", str(images / "lesion.png"))
    wanted = Classifier().classify(images / "lesion.png")
    assert results(page).first.locator(".headline").inner_text().startswith(wanted.name)


def test_threads_work_without_a_network(open_app, images):
    with serving("--app", APP, "--jobs", "1") as running:
        page = open_app(f"{running.url}app/")
        kept(page)
    page.reload()
    ready(page)
    assert page.evaluate("document.body.dataset.ready") == "threaded"
    page.set_input_files("#files", str(images / "lesion.png"))
    assert results(page).first.locator(".headline").count() == 1


NOT_KEPT = (
    "Not ready for use without a network: its files cannot be kept; perhaps the storage is full."
)


def limit_storage(page, url):
    session = page.context.new_cdp_session(page)
    given = {"origin": url.rstrip("/"), "quotaSize": 1}
    session.send("Storage.overrideQuotaForOrigin", given)


def test_a_full_storage_is_named_and_images_are_classified(browser, images):
    """Before the first file is kept, and before a build of the runtime is."""
    with static(APP) as (_, url):
        context = browser.new_context()
        page = context.new_page()
        limit_storage(page, url)
        page.goto(url)
        kept(page)
        assert page.inner_text("#offline") == NOT_KEPT
        page.set_input_files("#files", str(images / "page.png"))
        assert results(page).first.locator(".headline").inner_text() == wording.CANNOT_TELL
        context.close()
        context = browser.new_context()
        page = context.new_page()
        page.goto(url)
        kept(page)
        assert page.inner_text("#offline") == "Ready for use without a network."
        limit_storage(page, url)
        page.evaluate("""async () => {
            const { active } = await navigator.serviceWorker.ready;
            active.postMessage({ kind: 'keep', runtime: { kind: 'compat' } });
        }""")
        page.get_by_text(NOT_KEPT).wait_for()
        context.close()


def another_version(folder, to, mark):
    """Copy a built app as another version, with another title."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.gz"))
    former = next(path.name for path in to.iterdir() if re.fullmatch("[0-9a-f]{12}", path.name))
    (to / former).rename(to / mark)
    for path in [*to.glob("*.*"), *(to / mark).glob("*.js")]:
        path.write_text(path.read_text().replace(former, mark))
    page = to / "index.html"
    page.write_text(page.read_text().replace("<title>lesionedge<", f"<title>{mark}<"))
    # The host says "not modified" of what is of the same second.
    for number, path in enumerate(to.glob("*.*")):
        os.utime(path, (1e9 + int(mark[0]) * 1000 + number,) * 2)


OLD, NEW = "0" * 12, "1" * 12


def two_versions(root):
    """Return a folder with one version of the app; ``renew`` puts the other in its place."""
    for mark in (OLD, NEW):
        another_version(APP, root / mark, mark)
    return (root / OLD).rename(root / "served")


def renew(served):
    shutil.rmtree(served)
    (served.parent / NEW).rename(served)


def test_an_update_is_complete_and_waits_for_the_user(open_app, tmp_path):
    folder = two_versions(tmp_path)
    with static(folder) as (_, url):
        page = open_app(url)
        kept(page)
        renew(folder)
        page.reload()  # the old one, whole, while the new one comes
        ready(page)
        assert page.title() == OLD
        page.get_by_role("status").filter(has_text="A new version is here.").wait_for()
        loaded = "performance.getEntriesByType('resource').map((one) => one.name)"
        assert not [name for name in page.evaluate(loaded) if NEW in name]
        page.get_by_role("button", name="Reload").click()
        page.wait_for_function("mark => document.title === mark", arg=NEW)
        ready(page)
        assert not [name for name in page.evaluate(loaded) if OLD in name]
        assert page.evaluate("caches.keys()") == [f"lesionedge {url} {NEW}"]


def test_an_update_during_the_first_visit_reloads_only_where_it_is_wanted(open_app, tmp_path):
    folder = two_versions(tmp_path)
    with static(folder) as (_, url):
        page = open_app(url)
        kept(page)
        other = page.context.new_page()
        other.goto(url)
        ready(other)
        kept(other)
        renew(folder)
        page.evaluate("navigator.serviceWorker.ready.then((found) => found.update())")
        page.get_by_role("button", name="Reload").click()
        page.wait_for_function("mark => document.title === mark", arg=NEW)
        ready(page)
        assert other.title() == OLD
        other.get_by_role("button", name="Reload").click()
        other.wait_for_function("mark => document.title === mark", arg=NEW)


def test_two_copies_on_one_host_keep_their_files(browser, tmp_path):
    for mark in (OLD, NEW):
        another_version(APP, tmp_path / mark, mark)
    context = browser.new_context()
    page = context.new_page()
    with static(tmp_path) as (_, url):
        for mark in (OLD, NEW):
            page.goto(f"{url}{mark}/")
            kept(page)
    assert len(page.evaluate("caches.keys()")) == 2
    context.set_offline(True)
    for mark in (OLD, NEW):
        page.goto(f"{url}{mark}/")
        assert page.title() == mark
    context.close()


def test_a_copy_below_another_is_its_own_page(browser, tmp_path):
    another_version(APP, tmp_path / "root", OLD)
    another_version(APP, tmp_path / "root" / "below", NEW)
    (tmp_path / "root" / "notes.txt").write_text("other things of this host")
    context = browser.new_context()
    page = context.new_page()
    with static(tmp_path / "root") as (_, url):
        page.goto(url)
        kept(page)
        page.goto(f"{url}notes.txt")
        assert "other things" in page.inner_text("body")
        page.goto(f"{url}below/")
        kept(page)
        assert page.title() == NEW
    context.set_offline(True)
    for path, title in (("", OLD), ("?from=home", OLD), ("index.html", OLD), ("below/", NEW)):
        page.goto(f"{url}{path}")
        ready(page)
        assert page.title() == title
    context.close()


def packed_bytes(path):
    packed = path.with_name(f"{path.name}.gz")
    return (packed if packed.is_file() else path).stat().st_size


def test_the_download_of_one_browser_is_small():
    worker = (APP / "sw.js").read_text()
    files = json.loads(re.search(r"FILES = (\[.*?\]);", worker, re.S)[1])
    runtimes = json.loads(re.search(r"RUNTIMES = (\{.*?\});", worker, re.S)[1])
    assert set(runtimes) == {"plain", "compat", "threaded"}
    for paths in runtimes.values():
        parts = ["index.html" if path == "./" else path for path in (*files, *paths)]
        assert sum(packed_bytes(APP / part) for part in parts) < MOST_BYTES


# --- serve --app


def test_serve_sends_it_compressed_with_a_strict_policy(server):
    version = re.search(r"([0-9a-f]{12})/main.js", (APP / "index.html").read_text())[1]
    path = f"/app/{version}/mobilenetv2-int8.tflite"
    packed = server.request("GET", path, Accept_Encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == server.request("GET", path).body
    assert "immutable" in packed.headers["cache-control"]
    page = server.request("GET", "/app/")
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["cross-origin-embedder-policy"] == "require-corp"
    policy = page.headers["content-security-policy"]
    assert "connect-src 'self'" in policy
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "unsafe-inline" not in policy
    assert server.request("GET", "/app/..%2f..%2fpyproject.toml").status == 404
    assert "wasm" not in server.request("GET", "/").headers["content-security-policy"]


def test_the_app_needs_no_token_and_its_address_no_slash():
    with serving("--app", APP, env={"LESIONEDGE_TOKEN": "a-token-of-the-tests-0123"}) as running:
        response = running.request("GET", "/app")
        assert response.status == 307
        assert response.headers["location"] == f"{running.url}app/"
        assert running.request("GET", "/app/").status == 200
        assert running.request("GET", "/model").status == 401


def test_a_build_replaces_no_other_folder(tmp_path):
    """Only one that is empty, or that holds a built app."""
    (tmp_path / "thesis.txt").write_text("years of work")
    line = [sys.executable, str(ROOT / "app" / "build.py"), str(tmp_path)]
    done = subprocess.run(line, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "holds other files" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_serve_refuses_a_folder_without_a_built_app(cli_run, tmp_path):
    done = cli_run("serve", "--app", tmp_path)
    assert done.exit_code == 2
    assert "has no index.html; expected a folder that make app has built" in done.stderr

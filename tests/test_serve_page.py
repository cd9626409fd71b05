"""The page in a real browser: Debian's Chromium, without a window."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from chromium import CAMERAS, launched, severe
from serving import encoded, serving

from lesionedge import Classifier, wording
from lesionedge.profile import Owner, Profile, Recalibration, digest

pytest.importorskip("fastapi", reason="needs lesionedge[web]")
TOKEN = "a-token-of-the-tests-0123"


@pytest.fixture(scope="module")
def browser():
    with launched() as running:
        yield running


@pytest.fixture(scope="module")
def server(int8):
    with serving("-m", int8) as running:
        yield running


@pytest.fixture(scope="module")
def embedded():
    """A server of the embedded model."""
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def images(tmp_path_factory, draw):
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        draw(300, 225, seed=number).save(folder / f"lesion-{number}.jpg")
    (folder / "notes.jpg").write_text("these are no pixels")
    return folder


@pytest.fixture
def open_page(browser):
    """Opens the page; afterwards checks that nothing else was requested and nothing was blocked."""
    contexts, faults = [], []

    def opened(url, *, width=1100, height=900, scheme="light", script=None, **options):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme,
            permissions=["clipboard-read", "clipboard-write", "camera"], **options,
        )  # fmt: skip
        contexts.append(context)
        if script:
            context.add_init_script(f"({script})()")
        page = context.new_page()
        page.set_default_timeout(60_000)
        # Chromium intercepts file choosers only while somebody listens for them, and playwright
        # does not wait for that. Listening from here on, it is active long before a key opens one.
        page.on("filechooser", lambda chooser: None)
        own = (url, f"blob:{url}", "data:")
        page.on("request", lambda r: r.url.startswith(own) or faults.append(f"requested {r.url}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console", lambda m: faults.append(m.text) if "Content Security" in m.text else None
        )
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def results(page, count=1):
    page.wait_for_function(
        "n => document.querySelectorAll('.card .headline, .card .fault').length === n", arg=count
    )
    return page.locator(".card")


def test_a_dropped_file_shows_its_bars(open_page, server, images):
    page = open_page(server.url)
    file = images / "lesion-0.jpg"
    wire = page.context.new_cdp_session(page)  # a drag from outside the browser
    data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        at = {"type": kind, "x": 300, "y": 180, "data": data}
        wire.send("Input.dispatchDragEvent", at)
    card = results(page).first
    own = server.predict(file.read_bytes()).json
    assert card.locator(".headline").inner_text().startswith(f"{own['name']} ({own['label']})")
    rows = card.locator(".bars tbody tr")
    assert rows.count() == len(own["predictions"])
    for number, one in enumerate(own["predictions"]):
        row = rows.nth(number)
        assert one["label"] in row.inner_text()
        assert row.locator("code").inner_text() == one["code"]
        width = row.locator(".fill").evaluate("bar => parseFloat(bar.style.width)")
        assert width == pytest.approx(one["prob"] * 100, abs=0.01)
    assert f"{own['malignant_probability'] * 100:.1f} %" in card.locator(".malignant").inner_text()
    assert "invoke" in card.inner_text()
    assert own["name"] in page.locator("#status").inner_text()
    shown = card.locator(".preview").evaluate("i => i.complete && i.naturalWidth")
    assert shown == 300


def test_a_pasted_image_is_classified(open_page, server):
    page = open_page(server.url)
    page.evaluate("""async () => {
        const canvas = new OffscreenCanvas(200, 150);
        canvas.getContext('2d').fillRect(50, 40, 90, 60);
        const blob = await canvas.convertToBlob({ type: 'image/png' });
        await navigator.clipboard.write([new ClipboardItem({ 'image/png': blob })]);
    }""")
    page.keyboard.press("Control+V")
    assert results(page).first.locator(".bars tbody tr").count() > 1


def test_several_files_and_a_bad_one(open_page, server, images):
    page = open_page(server.url)
    page.set_input_files("#files", sorted(map(str, images.iterdir())))
    cards = results(page, 4)
    bad = cards.filter(has_text="notes.jpg")
    assert "not an image that can be read" in bad.locator(".fault").inner_text()
    assert cards.locator(".bars").count() == 3
    page.wait_for_function(
        "() => document.getElementById('status').textContent.includes('1 failed')"
    )
    cards.filter(has_text="notes.jpg").get_by_role("button", name="Remove").click()
    assert page.locator(".card").count() == 3
    page.get_by_role("button", name="Remove all").click()
    assert page.locator(".card").count() == 0


def test_results_can_be_downloaded(open_page, server, images):
    page = open_page(server.url)
    page.set_input_files("#files", [str(images / "lesion-1.jpg"), str(images / "notes.jpg")])
    results(page, 2)
    with page.expect_download() as kept:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(Path(kept.value.path()).read_text().splitlines()))
    own = server.predict((images / "lesion-1.jpg").read_bytes()).json
    assert [row["path"] for row in rows] == ["lesion-1.jpg", "notes.jpg"]
    assert float(rows[0]["probability"]) == pytest.approx(own["probability"])
    assert (rows[0]["label"], rows[1]["label"]) == (own["label"], "")
    for one in own["top"]:
        assert float(rows[0][f"p_{one['label']}"]) == one["probability"]
    assert "not an image" in rows[1]["error"]
    with page.expect_download() as kept:
        page.get_by_role("button", name="Download JSON").click()
    found = json.loads(Path(kept.value.path()).read_text())
    assert "not a diagnosis" in found["note"]
    assert found["results"][0]["predictions"] == own["predictions"]


def test_the_page_uses_the_same_words_as_python(open_page, embedded, photo, tmp_path):
    """A refused image and one near the default operating point, with the embedded model."""
    from PIL import Image

    Image.new("RGB", (300, 200), "white").save(tmp_path / "page.png")
    page = open_page(embedded.url)
    for path in (photo, tmp_path / "page.png"):
        page.set_input_files("#files", str(path))
    cards = results(page, 2)
    refused = cards.filter(has_text="page.png")
    assert refused.locator(".headline").inner_text() == wording.CANNOT_TELL
    assert refused.locator(".malignant").count() == 0
    assert not refused.locator(".bars").is_visible()
    shown = cards.filter(has_text="lesion.jpg").locator(".malignant").inner_text()
    risk = wording.risk(Classifier().classify(photo))
    assert shown == risk[0].upper() + risk[1:]
    found = Classifier().classify(photo)
    bars = cards.filter(has_text="lesion.jpg").locator(".bars .percent").all_inner_texts()
    assert bars[-len(found.top) :] == [wording.percent(c.probability) for c in found.top]


def test_the_browsers_camera(open_page, server):
    page = open_page(server.url)
    page.get_by_role("button", name="Use the camera").click()
    page.wait_for_function("() => document.getElementById('video').videoWidth > 0")
    page.get_by_role("button", name="Take the photo").click()
    results(page)
    page.get_by_role("button", name="Close the camera").click()
    assert page.locator("#viewfinder").is_hidden()
    assert page.evaluate("document.getElementById('video').srcObject.active") is False


NOISE = """() => {
    const read = CanvasRenderingContext2D.prototype.getImageData;
    CanvasRenderingContext2D.prototype.getImageData = function (...given) {
        const found = read.apply(this, given);
        crypto.getRandomValues(found.data);
        return found;
    };
}"""


def test_a_photo_whose_pixels_the_browser_hides_is_not_sent(open_page, server):
    page = open_page(server.url, script=NOISE)
    page.click("#camera-open")
    page.wait_for_function("() => document.getElementById('video').videoWidth")
    page.click("#camera-take")
    page.get_by_text("No photo: this browser hides pixels from pages").wait_for()
    assert page.locator(".card").count() == 0


def test_the_model_and_its_limits_are_one_click_away(open_page, embedded):
    page = open_page(embedded.url)
    page.get_by_role("button", name="About the model").click()
    text = page.get_by_role("dialog").inner_text()
    for part in ("mobilenetv2", "HAM10000", "Limits", "CC BY-NC", "Melanoma", "0.7"):
        assert part in text
    assert not severe(page)
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1100])
def test_the_page_is_accessible(open_page, server, images, width, scheme):
    page = open_page(server.url, width=width, scheme=scheme)
    page.set_input_files("#files", [str(images / "lesion-2.jpg"), str(images / "notes.jpg")])
    results(page, 2)
    assert not severe(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    footer = page.locator("footer").bounding_box()
    assert footer["y"] + footer["height"] <= 900.5  # visible at every scroll position
    assert "not a diagnosis" in page.locator("footer").inner_text()


def test_the_keyboard_is_enough(open_page, server, images):
    page = open_page(server.url)
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached[:3] == ["about-open", "files", "camera-open"]
    outline = "getComputedStyle(document.querySelector('.button:focus-within')).outlineStyle"
    page.focus("#files")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate(outline) == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(str(images / "lesion-0.jpg"))
    results(page)
    page.focus(".card .remove")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "files"


def test_the_page_requests_the_token_and_keeps_it_for_this_visit(open_page, int8, images):
    with serving("-m", int8, "--token", TOKEN) as server:
        page = open_page(server.url)
        page.fill("#token", "a wrong one")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.getElementById('access-fault').textContent !== ''")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.set_input_files("#files", str(images / "lesion-0.jpg"))
        results(page)
        page.goto(f"{server.url}#token={TOKEN}")
        page.wait_for_function("() => location.hash === ''")
        assert TOKEN not in page.url


BLOCKED = """() => {
    const blocked = () => { throw new DOMException("blocked", "SecurityError"); };
    Object.defineProperty(window, "sessionStorage", { get: blocked });
}"""


def test_a_browser_that_stores_nothing_keeps_the_token_for_the_page(open_page, int8, images):
    with serving("-m", int8, env={"LESIONEDGE_TOKEN": TOKEN}) as server:
        page = open_page(server.url, script=BLOCKED)
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.get_by_text("Model: int8.tflite.").wait_for()
        page.set_input_files("#files", str(images / "lesion-0.jpg"))
        assert results(page).locator(".headline").count() == 1


def test_a_link_with_a_token_opens_the_page(open_page, int8, images):
    """Also in the tab of the page that asks for the token, and made by hand."""
    token = "a+token/of=the+tests"
    with serving("-m", int8, "--token", token) as server:
        page = open_page(server.url)
        page.locator("#access").wait_for(state="visible")
        page.evaluate("token => { location.hash = `token=${token}`; }", token)
        page.locator("#access").wait_for(state="hidden")
        page.set_input_files("#files", str(images / "lesion-0.jpg"))
        results(page)
        assert not page.locator("#access").is_visible()


def test_a_camera_is_opened_once_and_may_be_unplugged(open_page, server):
    page = open_page(server.url)
    page.evaluate(CAMERAS)
    page.locator("#camera-open").evaluate("button => { button.click(); button.click(); }")
    page.locator("#viewfinder").wait_for(state="visible")
    assert page.evaluate("tracks.length") == 1
    page.evaluate("tracks[0].dispatchEvent(new Event('ended'))")
    assert page.locator("#viewfinder").is_hidden()
    assert page.inner_text("#status").startswith("The camera stopped: it was unplugged")
    assert page.evaluate("tracks[0].readyState") == "ended"


def test_the_live_view(open_page, int8, images, draw):
    folder = images.parent / "live"
    folder.mkdir(exist_ok=True)
    frame = [encoded(draw(320, 240, seed=number)) for number in range(2)]
    for number in range(400):
        (folder / f"{number:04}.jpg").write_bytes(frame[number // 20 % 2])
    with serving("-m", int8, "--camera", folder) as server:
        page = open_page(server.url)
        page.wait_for_selector("#live-result .headline")
        page.wait_for_function("() => document.getElementById('live-image').naturalWidth > 0")
        assert "after the frame was captured" in page.locator("#live-result").inner_text()
        first = page.get_attribute("#live-image", "src")
        page.wait_for_function(
            "first => document.getElementById('live-image').src !== first", arg=first
        )
        assert not severe(page)
        page.get_by_role("button", name="Pause").click()
        assert page.get_attribute("#live-pause", "aria-pressed") == "true"


def test_a_live_view_without_new_frames_says_so(open_page, int8, draw, tmp_path):
    frame = encoded(draw(320, 240, seed=1))
    for number in range(400):
        (tmp_path / f"{number:04}.jpg").write_bytes(frame)
    with serving("-m", int8, "--camera", tmp_path) as server:
        newest = server.request("GET", "/live").json
        page = open_page(server.url)
        page.locator("#live-result .headline").wait_for()
        given = [{"status": 204}]
        page.route("**/live?after=*", lambda route: route.fulfill(**given[0]))
        said = "The camera has sent no frame for ten seconds."
        page.get_by_role("status").filter(has_text=said).wait_for()
        page.evaluate("""() => {
            window.changes = 0;
            new MutationObserver((found) => { changes += found.length; }).observe(
                document.getElementById('live-fault'), { childList: true });
        }""")
        for _ in range(3):
            with page.expect_response("**/live?after=*"):
                pass
        assert page.evaluate("changes") == 0  # else a screen reader would say it again and again
        given[0] = {"json": {**newest, "number": 1000}}
        page.locator("#live-fault").wait_for(state="hidden")


def test_an_image_that_the_browser_cannot_show(open_page, server, images, draw):
    page = open_page(server.url)
    given = {
        "name": "a.tif",
        "mimeType": "image/tiff",
        "buffer": encoded(draw(64, 48, seed=1), "TIFF"),
    }
    page.set_input_files("#files", given)
    card = results(page).first
    card.get_by_text("Your browser cannot show this kind of image.").wait_for()
    button = card.get_by_role("button", name="Heat map")
    button.click()
    card.locator(".heat").wait_for(state="visible")
    button.click()
    card.locator(".heat").wait_for(state="hidden")
    assert card.locator(".preview").is_hidden()


def test_a_file_that_is_gone_and_a_server_that_is(open_page, int8, draw, tmp_path):
    gone = tmp_path / "gone.jpg"
    draw(64, 48, seed=1).save(gone)
    with serving("-m", int8) as server:
        page = open_page(server.url)
        page.set_input_files("#files", str(gone))
        results(page)
        gone.unlink()
        page.get_by_role("button", name="Heat map").click()
        page.get_by_text(
            "No heat map: it cannot be read: it was moved, changed or deleted; choose it again"
        ).wait_for()
    draw(64, 48, seed=1).save(gone)
    page.set_input_files("#files", str(gone))
    fault = results(page, 2).first.locator(".fault")
    assert fault.inner_text() == "Failed: the server cannot be reached"


def test_the_heat_map_can_be_shown_and_hidden(open_page, server, images):
    page = open_page(server.url)
    page.set_input_files("#files", str(images / "lesion-0.jpg"))
    card = results(page).first
    toggle = card.get_by_role("button", name="Heat map")
    toggle.click()
    page.wait_for_function("() => document.querySelector('.heat').naturalWidth > 0")
    assert toggle.get_attribute("aria-pressed") == "true"
    assert card.locator(".preview").is_hidden()
    toggle.click()
    assert card.locator(".heat").is_hidden()


def test_the_api_is_documented_without_a_cdn(open_page, browser, server):
    page = open_page(server.url)
    page.goto(f"{server.url}docs")
    page.wait_for_selector(".opblock")
    assert page.locator(".opblock").count() >= 5
    page.locator(".opblock", has_text="/health").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.wait_for_selector(".live-responses-table .response")
    assert '"ready": true' in page.locator(".live-responses-table").inner_text()


def test_the_site_profile_is_named(open_page, server, int8, tmp_path):
    classifier = Classifier(int8)
    kinds = tuple(diagnosis.malignant for diagnosis in classifier.diagnoses)
    owner = Owner("int8", digest(classifier.path), classifier.labels, kinds)
    file = tmp_path / "site.json"
    file.write_text(Profile("clinic <b>A</b>", owner, Recalibration.none(kinds)).to_json())
    assert "profile" not in open_page(server.url).locator("#model-name").inner_text()
    with serving("-m", int8, "--profile", file) as running:
        page = open_page(running.url)
        page.wait_for_function("() => document.getElementById('model-name').textContent")
        said = "Model: int8.tflite, adjusted by the site profile clinic <b>A</b>."
        assert page.locator("#model-name").inner_text() == said


def test_a_model_of_unknown_labels(open_page, models, images):
    with serving("-m", models / "foreign.tflite") as running:
        page = open_page(running.url)
        page.set_input_files("#files", images / "lesion-0.jpg")
        card = results(page).first
        assert card.locator(".malignant").inner_text() == "Malignant unknown"
        assert "--malignant mel,bcc" in card.locator(".warning").first.inner_text()
        assert card.locator(".kind").count() == 0
        page.click("#about-open")
        page.wait_for_selector("#about-content table")
        row = page.locator("#about-content tr", has_text="thing 0").inner_text()
        assert row.split("\t")[-1] == "unknown"
        assert not severe(page)

"""JPEG files that have lost bytes are refused; intact ones never are."""

from __future__ import annotations

import io
import json
import random

import numpy as np
import pytest
from PIL import Image, ImageFile

import lesionedge
from lesionedge import ImageError
from lesionedge import image as images

SMALL, HUGE = images.Preprocessing(64, 64), images.Preprocessing(600, 600)
KINDS = {
    "baseline": {},
    "optimized": {"optimize": True},
    "rows": {"restart_marker_rows": 1},
    "blocks": {"restart_marker_blocks": 7},
    "progressive": {"progressive": True},
}
LOST_BYTES = 1000


@pytest.fixture(scope="module")
def photograph(draw):
    """A lesion with a camera's noise, because a drawing has too much empty space."""
    noise = np.random.default_rng(1).normal(0, 5, (480, 640, 3))
    noisy = np.asarray(draw(640, 480, seed=1), np.float32) + noise
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def jpeg(image, **settings) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", **{"quality": 90, **settings})
    return content.getvalue()


def without(data: bytes, at: int, count: int = LOST_BYTES) -> bytes:
    return data[:at] + data[at + count :]


def places(data: bytes, count: int, seed: int = 0) -> list[int]:
    """Return positions in the coded pixels at which bytes may be lost."""
    chance, begin = random.Random(seed), data.index(b"\xff\xda") + 14
    return [chance.randrange(begin, len(data) - 2 - LOST_BYTES) for _ in range(count)]


def is_refused(data: bytes, preprocessing=SMALL) -> bool:
    try:
        images.decode(data, preprocessing)
    except ImageError:
        return True
    return False


@pytest.mark.parametrize("preprocessing", [None, SMALL, HUGE])
@pytest.mark.parametrize("kind", KINDS)
def test_intact_files_are_read_with_the_same_pixels(photograph, kind, preprocessing):
    for quality in (30, 75, 97):
        for subsampling in (0, 1, 2):
            for mode in ("RGB", "L", "CMYK"):
                if kind == "blocks" and mode == "CMYK":
                    continue
                data = jpeg(photograph.convert(mode), quality=quality, subsampling=subsampling,
                            **KINDS[kind])  # fmt: skip
                seen = images.decode(data, preprocessing)
                alone = Image.open(io.BytesIO(data))
                if preprocessing is not None:
                    alone.draft(None, images._least_size(alone.size, preprocessing, turned=False))
                assert np.array_equal(np.asarray(seen.image), np.asarray(alone.convert("RGB")))


@pytest.mark.parametrize(
    ("kind", "least"),
    [("baseline", 60), ("optimized", 60), ("rows", 60), ("blocks", 60), ("progressive", 28)],
)
def test_a_kilobyte_lost_in_the_pixels_is_found(photograph, kind, least):
    data = jpeg(photograph, **KINDS[kind])
    found = [is_refused(without(data, at)) for at in places(data, 60)]
    assert sum(found) >= least


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_damage_is_found_in_grey_and_cmyk_too(photograph, mode):
    data = jpeg(photograph.convert(mode))
    assert all(is_refused(without(data, at)) for at in places(data, 20))


def test_a_kilobyte_overwritten_with_zeros_is_found(photograph):
    data = jpeg(photograph)
    hit = [data[:at] + bytes(LOST_BYTES) + data[at + LOST_BYTES :] for at in places(data, 60)]
    assert sum(map(is_refused, hit)) >= 55


def test_the_message_says_what_is_wrong(photograph, tmp_path, int8):
    data = jpeg(photograph)
    (tmp_path / "a.jpg").write_bytes(without(data, len(data) // 2))
    with pytest.raises(ImageError, match=r"a\.jpg: damaged or cut short \(a part of its"):
        lesionedge.classify(tmp_path / "a.jpg", model=int8)


def test_predict_names_the_file_and_goes_on(photograph, tmp_path, int8, cli_run):
    data = jpeg(photograph)
    (tmp_path / "1.jpg").write_bytes(without(data, len(data) // 2))
    (tmp_path / "2.jpg").write_bytes(data)
    result = cli_run("predict", tmp_path, "-m", int8, "--format", "json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert result.exit_code == 1
    assert "damaged" in first["error"] and "label" not in first
    assert second["label"]


def test_harmless_oddities_are_read(photograph):
    data = jpeg(photograph)
    body, end = data[:-2], data[-2:]
    harmless = {
        "filled up before the end": body + bytes(500) + end,
        "filled up with fill bytes": body + b"\xff" * 500 + end,
        "a few bytes too many": body + b"\x12\x34\x56" + end,
        "something after the end": data + bytes(range(256)) * 10,
        "another image after the end": data + jpeg(photograph.resize((64, 48))),
        "no end": body,
        "no end in a buffer that is larger": body + bytes(4000),
        "a comment after the pixels": body + b"\xff\xfe\x00\x04hi" + end,
    }
    whole = np.asarray(images.decode(data, SMALL).image)
    for name, content in harmless.items():
        assert np.array_equal(np.asarray(images.decode(content, SMALL).image), whole), name


def test_a_thumbnail_and_several_images_in_one_file(photograph):
    thumbnail = jpeg(photograph.resize((160, 120)))
    segment = b"Exif\0\0" + thumbnail
    size = (len(segment) + 2).to_bytes(2, "big")
    data = jpeg(photograph)
    with_thumbnail = data[:2] + b"\xff\xe1" + size + segment + data[2:]
    assert not is_refused(with_thumbnail)
    assert is_refused(without(with_thumbnail, len(with_thumbnail) // 2))
    several = io.BytesIO()
    photograph.save(several, "MPO", save_all=True, append_images=[photograph.rotate(180)])
    assert not is_refused(several.getvalue())
    assert is_refused(without(several.getvalue(), 20_000))


def test_a_grey_image_is_not_refused():
    for settings in KINDS.values():
        for level in (0, 127, 128, 129, 255):
            assert not is_refused(jpeg(Image.new("RGB", (320, 240), (level,) * 3), **settings))


def test_a_file_that_breaks_off_is_an_error(photograph):
    for settings in KINDS.values():
        data = jpeg(photograph, **settings)
        assert is_refused(data[: len(data) * 2 // 3])
        assert is_refused(data[: len(data) * 2 // 3] + b"\xff\xd9")


def test_restart_marks_out_of_order_are_found(photograph):
    data = jpeg(photograph, restart_marker_rows=1)
    at = data.index(b"\xff\xd3")
    assert is_refused(data[:at] + b"\xff\xd5" + data[at + 2 :])


def test_load_truncated_images_is_respected(photograph, monkeypatch):
    data = jpeg(photograph)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert not is_refused(without(data, len(data) // 2))


def test_damaged_frames_are_counted_and_skipped(photograph, tmp_path, int8):
    data = jpeg(photograph)
    for number in range(6):
        content = without(data, 9000) if number % 3 == 1 else data
        (tmp_path / f"{number}.jpg").write_bytes(content)
    with lesionedge.Camera(str(tmp_path)) as camera:
        seen = list(lesionedge.watch(camera, lesionedge.Classifier(int8, threads=1)))
    assert [observation.frame.number for observation in seen] == [1, 3, 4, 6]
    assert camera.damaged == 2


def test_no_file_is_left_open(photograph, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(photograph))
    for content in (path.read_bytes(), without(path.read_bytes(), 9000)):
        path.write_bytes(content)
        is_refused(path)  # a ResourceWarning would be an error
        with open(path, "rb") as file:
            is_refused(file)
            assert not file.closed

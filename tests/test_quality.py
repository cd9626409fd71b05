"""Quality warnings on drawn lesions, good ones and degraded ones."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lesionedge import image as images
from lesionedge import quality, reliability

INPUT = images.Preprocessing(224, 224)


def codes(photo):
    pixels = reliability.thumbnail(images.fit(photo, INPUT))
    return {notice.code for notice in quality.notices(pixels)}


@pytest.fixture(scope="module")
def lesion():
    """A brown disc on grainy skin."""
    return disc(0.25)


def disc(radius, centre=(0.5, 0.5), side=450):
    photo = Image.new("RGB", (side, side), (222, 178, 160))
    pen = ImageDraw.Draw(photo)
    x, y, r = centre[0] * side, centre[1] * side, radius * side
    pen.ellipse((x - r, y - r, x + r, y + r), (110, 70, 55))
    grains = np.random.default_rng(1).normal(0, 14, (side, side, 1))
    return Image.fromarray(np.clip(np.asarray(photo) + grains, 0, 255).astype(np.uint8))


def test_a_good_image_has_no_warning(lesion):
    assert codes(lesion) == set()


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda p: p.point(lambda v: v // 5), "dark"),
        (lambda p: p.point(lambda v: 255 - (255 - v) // 6), "bright"),
        (lambda p: p.filter(ImageFilter.GaussianBlur(10)), "blurred"),
    ],
)
def test_light_and_sharpness(lesion, spoil, code):
    assert code in codes(spoil(lesion))


def test_glare(lesion):
    shining = lesion.copy()
    ImageDraw.Draw(shining).ellipse((150, 150, 220, 220), (255, 255, 255))
    assert "glare" in codes(shining)


def test_a_lesion_that_is_small():
    assert "small" in codes(disc(0.04))


def test_a_lesion_that_is_cut_off():
    assert "cut-off" in codes(disc(0.35, centre=(0.05, 0.5)))


def test_hair(lesion):
    hairy = lesion.copy()
    pen = ImageDraw.Draw(hairy)
    rng = np.random.default_rng(2)
    for _ in range(60):
        (x, y), (dx, dy) = rng.uniform(0, 450, 2), rng.normal(0, 150, 2)
        pen.line((x, y, x + dx, y + dy), (30, 20, 20), 4)
    assert "hair" in codes(hairy)


def test_otsu_separates_two_values():
    histogram = np.zeros(256, np.int64)
    histogram[50], histogram[200] = 300, 700
    threshold, contrast = quality.otsu(histogram)
    assert 50 <= threshold < 200
    assert contrast == pytest.approx(150)


def test_one_value_has_no_contrast():
    histogram = np.zeros(256, np.int64)
    histogram[128] = 10
    assert quality.otsu(histogram)[1] == 0


def test_the_measures_follow_their_formulas():
    rng = np.random.default_rng(3)
    seen = rng.integers(0, 256, (112, 112)).astype(np.uint8)
    wide = seen.astype(float)
    laplacian = (
        wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * wide[1:-1, 1:-1]
    )
    found = quality.light(seen)
    assert found.brightness == pytest.approx(wide.mean())
    assert found.sharpness == pytest.approx(laplacian.var(), rel=1e-4)


def test_images_without_a_lesion_get_no_warning_about_lesions():
    pixels = reliability.thumbnail(images.fit(disc(0.04), INPUT))
    assert quality.notices(pixels, of_lesion=False) == ()

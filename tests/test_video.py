"""Videos of known colours and orientations, written by PyAV's own encoders."""

from __future__ import annotations

import json
import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image, ImageOps

import lesionedge
from lesionedge import image as images

av = pytest.importorskip("av")

SHARES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
BT709, BT601, BT2020 = 1, 6, 9
LIMITED, FULL = 1, 2
SMALL = images.Preprocessing(64, 64)


def patches(width: int, height: int) -> np.ndarray:
    """Return squares of 32 px with colours of skin, lesions and inks, and greys; (H, W, 3), 0-1."""
    colours = np.array(
        [
            (232, 190, 172), (198, 134, 103), (120, 75, 52), (64, 38, 30), (160, 32, 40),
            (230, 60, 70), (70, 90, 160), (40, 130, 90), (250, 240, 120), (150, 60, 150),
            (0, 0, 0), (255, 255, 255), (128, 128, 128), (20, 20, 24), (245, 235, 230),
        ]
    )  # fmt: skip
    rows, columns = np.arange(height) // 32, np.arange(width) // 32
    return colours[(rows[:, None] * 7 + columns[None]) % len(colours)] / 255


def to_yuv(rgb: np.ndarray, matrix: int, color_range: int, bits: int) -> list[np.ndarray]:
    """ITU-T H.273, 8.3: RGB of 0-1 -> whole numbers."""
    red, blue = SHARES[matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    chroma = [(rgb[..., 2] - luma) / (2 * (1 - blue)), (rgb[..., 0] - luma) / (2 * (1 - red))]
    top, scale = (1 << bits) - 1, 1 << (bits - 8)
    if color_range == FULL:
        planes = [luma * top, *(c * top + 128 * scale for c in chroma)]
    else:
        planes = [(luma * 219 + 16) * scale, *((c * 224 + 128) * scale for c in chroma)]
    return [np.clip(np.round(plane), 0, top) for plane in planes]


def frame_of(planes: list[np.ndarray], form: str):
    """Return planes as a PyAV frame of a planar format."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, form)
    dtype = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
    for plane, values in zip(frame.planes, planes):
        rows = np.zeros((plane.height, plane.line_size // np.dtype(dtype).itemsize), dtype)
        high, wide = plane.height, plane.width
        step_y, step_x = -(-height // high), -(-width // wide)
        small = values.reshape(high, step_y, wide, step_x).mean(axis=(1, 3))
        rows[:, :wide] = np.round(small)
        plane.update(rows.tobytes())
    return frame


def write(path, frames, *, codec, form, size, options=None, container=None, **tags):
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = form
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def first(path, preprocessing=None) -> np.ndarray:
    with lesionedge.Camera(str(path)) as camera:
        frame = next(iter(camera))
        return np.asarray(frame.decoded(preprocessing).image, float)


def colour_video(
    tmp_path, form, matrix, full, *, codec="ffv1", size=(320, 256), name="a.mkv", options=None,
    **tags,
):  # fmt: skip
    bits = av.VideoFormat(form, 16, 16).components[0].bits
    planes = to_yuv(patches(*size), matrix, full, bits)
    frames = [frame_of(planes, form) for _ in range(2)]
    return write(
        tmp_path / name, frames, codec=codec, form=form, size=size, options=options, **tags
    )


FORMATS = ("yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuv420p10le", "yuv422p10le", "yuv444p12le")
SIZE = (320, 256)


def error(path, size=SIZE, preprocessing=None) -> float:
    """Return the mean difference from the intended colours, in levels."""
    return float(abs(first(path, preprocessing) - patches(*size) * 255).mean())


@pytest.mark.parametrize("full", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
@pytest.mark.parametrize("form", FORMATS)
def test_colours_are_those_that_were_written(tmp_path, form, matrix, full):
    path = colour_video(tmp_path, form, matrix, full, colorspace=matrix, color_range=full)
    assert error(path) < 1


CODECS = {
    "h264": ("libx264", "yuv420p", {"qp": "1"}, "a.mp4"),
    "h264 10 bit": ("libx264", "yuv422p10le", {"qp": "1"}, "a.mkv"),
    "hevc 10 bit": ("libx265", "yuv420p10le", {"x265-params": "qp=1:log-level=none"}, "a.ts"),
    "transport stream": ("libx264", "yuv420p", {"qp": "1"}, "a.ts"),
}


@pytest.mark.parametrize("full", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020])
@pytest.mark.parametrize("name", CODECS)
def test_codecs_pass_on_colour_tags(tmp_path, name, matrix, full):
    codec, form, options, file = CODECS[name]
    path = colour_video(tmp_path, form, matrix, full, codec=codec, options=options, name=file,
                        colorspace=matrix, color_range=full)  # fmt: skip
    assert error(path) < 1


@pytest.mark.parametrize("matrix", [BT601, BT709])
def test_formats_of_full_range(tmp_path, matrix):
    path = colour_video(tmp_path, "yuvj420p", matrix, FULL, codec="libx264", options={"qp": "1"},
                        name="a.mp4", colorspace=matrix)  # fmt: skip
    assert error(path) < 1


def test_mjpeg_is_bt601_of_full_range(tmp_path):
    path = colour_video(tmp_path, "yuvj444p", BT601, FULL, codec="mjpeg", name="a.avi",
                        options={"flags": "+qscale", "global_quality": "118"})  # fmt: skip
    assert error(path) < 1.5


@pytest.mark.parametrize(
    ("size", "matrix"),
    [((320, 256), BT601), ((640, 480), BT601), ((720, 576), BT601), ((1280, 704), BT709),
     ((1920, 1088), BT709), ((704, 1280), BT709)],
)  # fmt: skip
def test_untagged_video_is_709_if_it_is_hd(tmp_path, size, matrix):
    assert error(colour_video(tmp_path, "yuv420p", matrix, LIMITED, size=size), size) < 1


@pytest.mark.parametrize(
    ("codec", "form"),
    [("libx264rgb", "rgb24"), ("ffv1", "gbrp10le"), ("ffv1", "bgr0"), ("png", "rgb24"),
     ("rawvideo", "bgr24"), ("rawvideo", "rgb48le")],
)  # fmt: skip
def test_rgb_stays_unchanged(tmp_path, codec, form):
    pixels = np.round(patches(*SIZE) * 255).astype(np.uint8)
    frames = []
    for _ in range(2):
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
        frames.append(frame if form == "rgb24" else frame.reformat(format=form))
    options = {"qp": "0"} if codec == "libx264rgb" else None
    path = write(tmp_path / "a.nut", frames, codec=codec, form=form, size=SIZE, options=options)
    assert error(path) < 0.5


@pytest.mark.parametrize("full", [LIMITED, FULL, None])
@pytest.mark.parametrize("form", ["gray", "gray10le"])
def test_grey(tmp_path, form, full):
    luma = patches(*SIZE) @ np.array([0.299, 0.587, 0.114])
    bits = av.VideoFormat(form, 16, 16).components[0].bits
    scale = 1 << (bits - 8)
    values = (luma * 219 + 16) * scale if full == LIMITED else luma * ((1 << bits) - 1)
    frames = [frame_of([values], form) for _ in range(2)]
    tags = {} if full is None else {"color_range": full}
    path = write(tmp_path / "a.mkv", frames, codec="ffv1", form=form, size=SIZE, **tags)
    assert abs(first(path) - luma[..., None] * 255).mean() < 1


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p10le", "yuv444p"])
def test_at_a_reduced_scale_colours_are_the_same(tmp_path, form):
    path = colour_video(tmp_path, form, BT709, LIMITED, size=(640, 512), colorspace=BT709,
                        color_range=LIMITED)  # fmt: skip
    small = first(path, SMALL)
    factor = 640 // small.shape[1]
    assert factor > 1
    whole = Image.fromarray(np.round(patches(640, 512) * 255).astype(np.uint8))
    assert abs(small - np.asarray(whole.reduce(factor), float)).mean() < 1


@pytest.mark.parametrize("size", [(321, 255), (322, 257), (355, 201)])
def test_odd_sizes(tmp_path, size):
    luma = np.tile(np.linspace(60, 200, size[0]).round(), (size[1], 1))
    frame = av.VideoFrame(*size, "yuv420p")
    for plane, values in zip(
        frame.planes, (luma, np.full((200, 200), 110), np.full((200, 200), 150))
    ):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values[: plane.height, : plane.width]
        plane.update(rows.tobytes())
    path = write(tmp_path / "a.mkv", [frame, frame], codec="ffv1", form="yuv420p", size=size)
    seen = first(path)
    assert seen.shape == (*size[::-1], 3)
    red = (luma - 16) * 255 / 219 + 1.402 * (150 - 128) * 255 / 224
    assert abs(seen[..., 0] - red).mean() < 1
    assert first(path, SMALL).shape[0] in (size[1] // 2, size[1] // 2 + 1)


@pytest.mark.parametrize("form", ["nv12", "uyvy422", "yuyv422", "p010le", "yuv420p10be"])
@pytest.mark.parametrize("full", [LIMITED, FULL])
def test_formats_with_another_layout(form, full):
    """Capture devices and other decoders deliver them; no container keeps their tags."""
    from lesionedge.camera import video

    base = {"nv12": "yuv420p", "p010le": "yuv420p10le", "yuv420p10be": "yuv420p10le"}
    planar = base.get(form, "yuv422p")
    bits = av.VideoFormat(planar, 16, 16).components[0].bits
    source = frame_of(to_yuv(patches(*SIZE), BT709, full, bits), planar)
    source.color_range = full
    frame = source.reformat(format=form)
    frame.color_range, frame.colorspace = full, BT709
    seen = video.to_rgb(frame, video.Tags.of(frame, None), video.Display(), None)
    assert abs(np.asarray(seen, float) - patches(*SIZE) * 255).mean() < 1


PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
DISPLAY_P3, PQ, HLG = 12, 16, 18


def to_xyz(primaries: int) -> np.ndarray:
    """SMPTE RP 177: RGB's light -> CIE XYZ, for a white of D65."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    return columns * np.linalg.solve(columns, white)


def light_of(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def from_light(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def in_other_primaries(srgb: np.ndarray, primaries: int) -> np.ndarray:
    """Return the light of sRGB values in other primaries."""
    return light_of(srgb) @ (np.linalg.inv(to_xyz(primaries)) @ to_xyz(1)).T


def wide_video(tmp_path, values, primaries, transfer, matrix=BT2020):
    planes = to_yuv(values, matrix, LIMITED, 10)
    frames = [frame_of(planes, "yuv444p10le") for _ in range(2)]
    return write(tmp_path / "a.mkv", frames, codec="ffv1", form="yuv444p10le", size=SIZE,
                 colorspace=matrix, color_range=LIMITED, color_primaries=primaries,
                 color_trc=transfer)  # fmt: skip


@pytest.mark.parametrize(("primaries", "matrix"), [(9, BT2020), (DISPLAY_P3, BT709)])
def test_wide_colours_become_srgb(tmp_path, primaries, matrix):
    values = from_light(in_other_primaries(patches(*SIZE), primaries))
    assert error(wide_video(tmp_path, values, primaries, 1, matrix)) < 1.5


def pq_of(light: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, of light where 1 is the reference white of 203 cd/m²."""
    power = np.clip(light * 203 / 10_000, 0, 1) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hlg_of(light: np.ndarray) -> np.ndarray:
    """ARIB STD-B67, of a display of 1,000 cd/m² (ITU-R BT.2100, table 5)."""
    shown = np.maximum(light * 203 / 1000, 1e-9)
    luminance = shown @ to_xyz(9)[1]
    scene = shown * (luminance ** (1 / 1.2 - 1))[..., None]
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    low, high = np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c
    return np.where(scene <= 1 / 12, low, high)


@pytest.mark.parametrize(
    ("transfer", "encode", "limit"),
    [(PQ, pq_of, 2.5), (HLG, hlg_of, 1.5)],  # 8 bits are too few for PQ
)
def test_hdr_becomes_srgb_with_a_warning(tmp_path, transfer, encode, limit, cli_run, int8):
    values = encode(in_other_primaries(patches(*SIZE), 9))
    path = wide_video(tmp_path, values, 9, transfer)
    assert error(path) < limit
    result = cli_run("camera", "--source", path, "-m", int8, "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert all("hdr" in json.loads(line)["warning_codes"] for line in result.stdout.splitlines())


def test_colours_coded_in_an_unknown_way_have_a_warning(tmp_path, cli_run, int8):
    path = colour_video(tmp_path, "yuv444p", BT709, LIMITED, colorspace=8)  # YCgCo
    result = cli_run("camera", "--source", path, "-m", int8, "--format", "json")
    codes = json.loads(result.stdout.splitlines()[0])["warning_codes"]
    assert "video-colours" in codes and "hdr" not in codes
    path = colour_video(tmp_path, "yuv444p", BT709, LIMITED, colorspace=BT709)
    result = cli_run("camera", "--source", path, "-m", int8, "--format", "json")
    assert "video-colours" not in json.loads(result.stdout.splitlines()[0])["warning_codes"]


# Display matrix (a, b, c, d) -> EXIF's number of the same orientation.
MATRICES = {
    (1, 0, 0, 1): 1, (-1, 0, 0, 1): 2, (-1, 0, 0, -1): 3, (1, 0, 0, -1): 4, (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6, (0, -1, -1, 0): 7, (0, -1, 1, 0): 8,
}  # fmt: skip


def with_matrix(path, matrix):
    """Write a display matrix into the track header of an MP4 (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    box = data.index(b"tkhd")
    at = box + 4 + 4 + (32 if data[box + 4] else 20) + 16
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def corners() -> np.ndarray:
    """Return an image with another colour in each quarter, (96, 160, 3) uint8."""
    pixels = np.zeros((96, 160, 3), np.uint8)
    pixels[:48, :80], pixels[:48, 80:] = (200, 40, 40), (40, 160, 40)
    pixels[48:, :80], pixels[48:, 80:] = (40, 40, 200), (220, 220, 220)
    return pixels


def upright(orientation: int) -> np.ndarray:
    """Return the image as displayed, by Pillow's reading of EXIF."""
    image = Image.fromarray(corners())
    image.getexif()[0x0112] = orientation
    return np.asarray(ImageOps.exif_transpose(image), float)


@pytest.fixture(params=["libx264", "mjpeg"])
def portrait(request, tmp_path):
    """Writes a video with a display matrix; MJPEG too, which is not decoded here."""
    frame = av.VideoFrame.from_ndarray(corners(), "rgb24")
    form, options = "yuv444p", {"qp": "4"}
    if request.param == "mjpeg":
        form, options = "yuvj444p", {"flags": "+qscale", "global_quality": "118"}
    frames = [frame.reformat(format=form) for _ in range(3)]
    path = write(tmp_path / "a.mp4", frames, codec=request.param, form=form, size=(160, 96),
                 options=options)  # fmt: skip
    return lambda matrix: with_matrix(path, matrix)


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_display_matrix_is_applied_to_frames(portrait, matrix):
    seen, wanted = first(portrait(matrix)), upright(MATRICES[matrix])
    assert seen.shape == wanted.shape
    assert abs(seen - wanted).mean() < 4
    small = first(portrait(matrix), images.Preprocessing(20, 20))
    assert small.shape[0] < wanted.shape[0]
    shrunk = Image.fromarray(wanted.astype(np.uint8)).resize(
        small.shape[1::-1], Image.Resampling.BOX
    )
    assert abs(small - np.asarray(shrunk, float)).mean() < 4


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (-1, 0, 0, 1), (0, 1, 1, 0)])
def test_a_display_matrix_is_applied_to_classified_and_saved_images(
    portrait, matrix, tmp_path, int8, cli_run
):
    path, wanted = portrait(matrix), upright(MATRICES[matrix])
    result = cli_run("camera", "--source", path, "-m", int8, "--save", tmp_path / "seen",
                     "--save-when", "always", "--format", "json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    saved = sorted((tmp_path / "seen").glob("*.jpg"))
    assert len(saved) == 3
    for file in saved:
        seen = np.asarray(Image.open(file).convert("RGB"), float)
        assert seen.shape == wanted.shape and abs(seen - wanted).mean() < 6


def test_a_display_matrix_is_applied_to_a_file_address(portrait):
    path = portrait((0, 1, -1, 0))
    assert abs(first(f"file://{path}") - upright(6)).mean() < 4


@pytest.mark.parametrize(
    ("codec", "form", "name"),
    [
        ("libx264", "yuv444p", "a.mp4"),
        ("mpeg4", "yuv420p", "a.mkv"),
        ("mjpeg", "yuvj444p", "a.avi"),
    ],
)
@pytest.mark.parametrize("oblong", [Fraction(64, 45), Fraction(1, 2), Fraction(9)])
def test_oblong_pixels_become_square(tmp_path, codec, form, name, oblong):
    """Video of capture devices often has them, and a round lesion would look oval."""
    drawn = np.zeros((256, 320, 3))
    drawn[64:192, 80:240] = 1
    frame = frame_of(to_yuv(drawn, BT601, FULL, 8), form)
    path = write(tmp_path / name, [frame], codec=codec, form=form, size=SIZE,
                 sample_aspect_ratio=oblong, color_range=FULL)  # fmt: skip
    wide, high = (320 * max(1, oblong), 256 / min(1, oblong)) if oblong < 9 else SIZE
    seen = first(path)
    assert seen.shape[:2] == (round(high), round(wide))
    inside = seen[..., 1] > 128
    assert abs(inside.any(0).sum() - wide / 2) <= 2
    assert abs(inside.any(1).sum() - high / 2) <= 2
    small = first(path, SMALL)
    assert abs(small.shape[1] / small.shape[0] - wide / high) < 0.05


def test_oblong_pixels_are_made_square_before_the_frame_is_turned(tmp_path):
    frame = frame_of(to_yuv(np.zeros((256, 320, 3)), BT709, LIMITED, 8), "yuv420p")
    path = write(tmp_path / "a.mp4", [frame], codec="libx264", form="yuv420p", size=SIZE,
                 sample_aspect_ratio=Fraction(2))  # fmt: skip
    assert first(with_matrix(path, (0, 1, -1, 0))).shape == (640, 256, 3)


def test_frames_decoded_from_damaged_ones_are_skipped(tmp_path, draw):
    """In a transport stream that lost packets, frames are skipped until the next key frame."""
    noise = np.random.default_rng(0).normal(0, 3, (240, 320, 1))
    pixels = np.asarray(draw(320, 240, seed=1), float)
    moving = [(np.roll(pixels, 2 * n, 1) + np.roll(noise, n, 0)).clip(0, 255) for n in range(100)]
    frames = [av.VideoFrame.from_ndarray(frame.astype(np.uint8), "rgb24") for frame in moving]
    frames = [frame.reformat(format="yuv420p") for frame in frames]
    path = write(tmp_path / "a.ts", frames, codec="libx264", form="yuv420p", size=(320, 240),
                 options={"g": "20", "preset": "veryfast"})  # fmt: skip
    data = path.read_bytes()
    whole = {position: image for position, image, _ in seen_of(path)}
    lost = len(data) // 2 // 188 * 188
    path.write_bytes(data[:lost] + data[lost + 5 * 188 :])
    found = seen_of(path)
    assert len(found) > 70
    assert found[-1][2] >= 1, "nothing was counted as damaged"
    for position, image, _ in found:
        assert np.array_equal(image, whole[position])


def seen_of(path):
    """Return positions and pixels of a video's frames, and how many were damaged until then."""
    from lesionedge.camera.stream import StreamSource

    source, found, damaged = StreamSource(str(path)), [], 0
    for shot in source.frames():
        if shot.content is None:
            damaged += 1
        else:
            found.append((shot.position_s, np.asarray(shot.content(None)), damaged))
    source.close()
    return found

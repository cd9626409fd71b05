"""Finding and reading images in folders, in archives and at addresses."""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
import zipfile

import pytest
from file_server import FileServer

import lesionedge
from lesionedge import image as images
from lesionedge.sources import archive, names, patterns, remote
from lesionedge.sources.listing import PassedOver, expand
from lesionedge.sources.reading import DeferredImage, content

LITTER = ("._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._a.jpg",
          "__MACOSX/b.jpg", "@eaDir/a.jpg", ".thumbnails/a.jpg")  # fmt: skip


def listed(*arguments, recursive=True):
    """Return (paths, errors, skipped files)."""
    over = PassedOver()
    found = list(expand(map(str, arguments), recursive=recursive, passed_over=over))
    return [s.path for s in found if not s.error], [s.error for s in found if s.error], over


@pytest.fixture
def jpeg(draw, tmp_path):
    path = tmp_path / "source.jpg"
    draw(64, 64, seed=1).save(path)
    return path.read_bytes()


@pytest.fixture
def tree(tmp_path, jpeg):
    """Images in three folders, system files, and files of other kinds."""
    root = tmp_path / "tree"
    for name in ("a.jpg", "b.MPO", "deep/c.jpx", "deep/er/d.jpe", *LITTER):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
    for name in ("x.cr2", "deep/y.CR3", "z.jxl", "deep/drawing.svg", "notes.txt", "movie.mp4"):
        (root / name).write_bytes(b"something")
    return root


WANTED = ["a.jpg", "b.MPO", "deep/c.jpx", "deep/er/d.jpe"]


def packed(tree, path, method=zipfile.ZIP_DEFLATED):
    """Make a zip of a folder."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name in sorted(tree.rglob("*")):
            file.write(name, name.relative_to(tree))
    return path


# Folders


def test_a_folder(tree):
    found, errors, over = listed(tree)
    assert found == [str(tree / name) for name in WANTED]
    assert errors == []
    assert len(over) == 4
    assert str(over) == (
        "2 camera raw (x.cr2, y.CR3; export it as JPEG or TIFF), "
        "1 JPEG XL (z.jxl; convert it to JPEG or PNG), 1 drawing (drawing.svg)"
    )
    found, _, over = listed(tree, recursive=False)
    assert found == [str(tree / name) for name in WANTED[:2]]
    assert len(over) == 2


def test_links_to_themselves_are_no_folders(tree):
    (tree / "loop").symlink_to("loop")
    (tree / "loop.jpg").symlink_to("loop.jpg")
    paths, errors, _ = listed(tree)
    assert (len(paths), errors) == (5, [])
    with pytest.raises(lesionedge.ImageError, match=r"loop\.jpg: cannot be opened"):
        images.decode(tree / "loop.jpg")


def test_many_files_of_a_kind_are_counted_and_some_are_named(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:02d}.nef").touch()
    _, errors, over = listed(tmp_path)
    assert str(over).startswith("12 camera raw (00.nef, 01.nef, 02.nef, …; export")
    assert errors == [f"{tmp_path}: holds no images that can be read here"]


@pytest.mark.parametrize(("module", "suffix", "kind"), [("pillow_heif", "HEIC", "heic"),
                                                        ("pydicom", "dcm", "dicom")])  # fmt: skip
def test_formats_of_the_extras(tmp_path, monkeypatch, module, suffix, kind):
    (tmp_path / f"a.{suffix}").touch()
    monkeypatch.setitem(sys.modules, module, None)
    found, _, over = listed(tmp_path)
    assert found == []
    assert str(over) == f"1 {kind.upper()} (a.{suffix}; pip install 'lesionedge[{kind}]')"
    monkeypatch.setitem(sys.modules, module, os)
    found, _, over = listed(tmp_path)
    assert found == [str(tmp_path / f"a.{suffix}")]
    assert len(over) == 0
    found, errors, over = listed(tmp_path / f"a.{suffix}")
    assert found and not errors and not len(over)


def test_files_without_a_suffix_are_judged_by_their_first_bytes(tmp_path, jpeg, monkeypatch):
    (tmp_path / "source.jpg").unlink()
    (tmp_path / "photo").write_bytes(jpeg)
    (tmp_path / "IM000001").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 20)
    (tmp_path / "1.2.840.10008.1").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 20)
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 20)
    (tmp_path / "README").write_text("text")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setitem(sys.modules, "pydicom", os)
    found, _, over = listed(tmp_path)
    assert [os.path.basename(path) for path in found] == ["1.2.840.10008.1", "IM000001", "photo"]
    monkeypatch.setitem(sys.modules, "pydicom", None)
    found, _, over = listed(tmp_path)
    assert [os.path.basename(path) for path in found] == ["photo"]
    assert str(over).startswith("2 DICOM (1.2.840.10008.1, IM000001; pip install")


def test_a_named_folder_is_listed_even_if_it_is_hidden(tmp_path, jpeg):
    for folder in (".hidden", "__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(jpeg)
        assert listed(tmp_path / folder)[0] == [str(tmp_path / folder / "a.jpg")]
        assert listed(tmp_path / folder / "a.jpg")[0] == [str(tmp_path / folder / "a.jpg")]
    (tmp_path / "._b.jpg").write_bytes(jpeg)
    assert listed(tmp_path / "._b.jpg")[0] == [str(tmp_path / "._b.jpg")]


# Patterns


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]), ("**/*.jp?", ["a.jpg", "deep/c.jpx", "deep/er/d.jpe"]),
        ("**", WANTED), ("**/*", WANTED), ("*", WANTED),  # with all images of the folders
        ("deep/*", ["deep/c.jpx", "deep/er/d.jpe"]), ("[ab].*", ["a.jpg", "b.MPO"]),
        ("*/*.jpg", []), ("__MACOSX/*.jpg", ["__MACOSX/b.jpg"]), ("._*.jpg", ["._a.jpg"]),
        (".thumb*/*.jpg", [".thumbnails/a.jpg"]),
    ],
)  # fmt: skip
def test_patterns(tree, pattern, expected):
    found, errors, _ = listed(f"{tree}/{pattern}")
    assert found == [str(tree / name) for name in expected]
    assert errors == ([] if expected else [f"{tree}/{pattern}: no image matches"])


def test_patterns_with_and_without_a_suffix_treat_other_kinds_differently(tree):
    _, errors, over = listed(f"{tree}/*")
    assert (errors, len(over)) == ([], 4)
    found, _, over = listed(f"{tree}/*.cr2")
    assert found == [str(tree / "x.cr2")]  # it fails later, like a named file
    assert len(over) == 0


def test_a_file_whose_name_looks_like_a_pattern(tmp_path, jpeg):
    path = tmp_path / "a[1].jpg"
    path.write_bytes(jpeg)
    assert listed(path)[0] == [str(path)]


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.jpg", ["a.jpg", ".jpg"], ["a/b.jpg", "ajpg"]), ("**/*.jpg", ["a.jpg", "a/b/c.jpg"], []),
        ("a/**", ["a/b", "a/b/c"], ["b/a"]), ("a?c", ["abc"], ["a/c", "ac"]),
        ("[!a]b", ["xb"], ["ab", "/b"]), ("[a-c]1", ["b1"], ["d1"]), ("a[", ["a["], ["a"]),
        ("a.b+c", ["a.b+c"], ["axb+c", "a.bbc"]), ("[]]x", ["]x"], ["x"]),
        ("a[]", ["a[]"], ["a"]), ("[z-a]", [], ["z", "a", "-"]), ("[!z-a]", ["q"], ["/"]),
        ("[a--b]", ["b"], ["c"]), ("[a&&b|^]", ["&", "^"], ["c"]), ("[!]]", ["x"], ["]"]),
        ("**/*.jpg", ["a\nb/c.jpg"], []),
    ],
)  # fmt: skip
def test_compiled_patterns(pattern, yes, no):
    expression = patterns.compiled(pattern)
    assert all(expression.fullmatch(name) for name in yes)
    assert not any(expression.fullmatch(name) for name in no)


# Archives


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive(tree, tmp_path, jpeg, method):
    path = packed(tree, tmp_path / "Images.ZIP", method)
    found, errors, over = listed(path)
    assert found == [f"zip://{name}::{path}" for name in WANTED]
    assert (errors, len(over)) == ([], 4)
    assert {content(name) for name in found} == {jpeg}


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("", WANTED), ("deep", WANTED[2:]), ("deep/", WANTED[2:]), ("deep/*", ["deep/c.jpx"]),
        ("**/*.j*", ["a.jpg", "deep/c.jpx", "deep/er/d.jpe"]), ("a.jpg", ["a.jpg"]),
        ("__MACOSX/b.jpg", ["__MACOSX/b.jpg"]), ("x.cr2", ["x.cr2"]),
    ],
)  # fmt: skip
def test_parts_of_an_archive(tree, tmp_path, inner, expected):
    path = packed(tree, tmp_path / "a.zip")
    found, errors, _ = listed(f"zip://{inner}::{path}")
    assert found == [f"zip://{name}::{path}" for name in expected]
    assert errors == []


@pytest.mark.parametrize("inner", ["none.jpg", "none/", "*.none"])
def test_parts_that_an_archive_does_not_hold(tree, tmp_path, inner):
    path = packed(tree, tmp_path / "a.zip")
    found, errors, _ = listed(f"zip://{inner}::{path}")
    assert found == []
    assert errors == [f"zip://{inner}::{path}: holds no images"]
    with pytest.raises(lesionedge.ImageError, match="no such file in the archive"):
        content(f"zip://none.jpg::{path}")


@pytest.mark.parametrize(
    "member", ["a::b.jpg", "::x.jpg", "we/i::r::d.jpg", "zip://a::b.jpg", "a:", ":::"]
)
@pytest.mark.parametrize("where", ["a.zip", "od::d.zip", "simplecache"])
def test_members_and_archives_with_double_colons(tmp_path, jpeg, member, where):
    path = tmp_path / where
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(member, jpeg)
    assert archive.local(str(path)).names() == [member]
    name = names.member_name(member, str(path))
    assert names.split(name) == (member, str(path))
    assert content(name) == jpeg
    assert names.base_name(name) == member.rpartition("/")[2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("zip://a.jpg::s3://bucket/a.zip", ("a.jpg", "s3://bucket/a.zip")),
        ("zip://a::b.jpg::s3://bucket/a.zip", ("a::b.jpg", "s3://bucket/a.zip")),
        ("zip://a.jpg::simplecache::s3://b/a.zip", ("a.jpg", "simplecache::s3://b/a.zip")),
        ("zip://a.jpg::zip://in.zip::out.zip", ("a.jpg", "zip://in.zip::out.zip")),
        ("zip://::a.zip", ("", "a.zip")),
        ("zip://a.jpg", ("a.jpg", "")),
        ("zip://a:::b.zip", ("a:", "b.zip")),
    ],
)
def test_names_of_members_elsewhere(name, expected):
    assert names.split(name) == expected


def test_archives_that_windows_wrote(tmp_path, jpeg):
    """Names with backslashes, and Windows' system files."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("scans/a.jpg", "scans/Thumbs.db", "scans/.b.jpg"):
            file.writestr(name, jpeg)
    path.write_bytes(path.read_bytes().replace(b"scans/", b"scans\\"))
    found, _, _ = listed(path)
    assert found == [f"zip://scans\\a.jpg::{path}"]
    assert content(found[0]) == jpeg
    assert names.base_name(found[0]) == "a.jpg"


def test_a_member_without_a_name(tmp_path, jpeg):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x", jpeg)
        file.writestr("b.jpg", jpeg)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"PK\x01\x02")  # the first entry: its name's length, and its name
    whole[at + 28] = 0
    del whole[at + 46]
    end = whole.rindex(b"PK\x05\x06") + 12
    whole[end : end + 4] = struct.pack("<I", struct.unpack("<I", whole[end : end + 4])[0] - 1)
    path.write_bytes(whole)
    assert listed(path)[0] == [f"zip://b.jpg::{path}"]


def test_members_without_a_suffix(tmp_path, jpeg):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("photo", jpeg)
        file.writestr("README", "text")
    assert listed(path)[0] == [f"zip://photo::{path}"]


def test_archives_that_are_named_wrongly():
    assert "expected zip://MEMBER::ARCHIVE" in listed("zip://a.jpg")[1][0]
    assert "lesionedge batch reads more" in listed("zip://a.jpg::s3://bucket/a.zip")[1][0]


def test_damaged_archives_are_one_line(tree, tmp_path):
    path = packed(tree, tmp_path / "a.zip")
    whole = path.read_bytes()
    for number, broken in enumerate((b"", b"text", whole[:300], whole[-200:], whole[:-10])):
        bad = tmp_path / f"{number}.zip"
        bad.write_bytes(broken)
        found, errors, _ = listed(bad)
        assert found == []
        assert errors == [f"{bad}: is not a zip archive, or is damaged"]
    assert listed(tmp_path / "none.zip")[1] == [f"{tmp_path}/none.zip: no such file"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_fails_alone(tmp_path, jpeg, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.jpg", jpeg)
        file.writestr("b.jpg", jpeg)
    whole = bytearray(path.read_bytes())
    whole[200] ^= 255
    path.write_bytes(whole)
    found = listed(path)[0]
    with pytest.raises(lesionedge.ImageError, match=r"a\.jpg.*: damaged in the archive"):
        content(found[0])
    assert content(found[1]) == jpeg


def test_encrypted_and_unusually_compressed_members(tmp_path, jpeg):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.jpg", jpeg)
    whole = path.read_bytes()
    central = whole.rindex(b"PK\x01\x02")
    for offset, value, words in ((8, 1, "is encrypted"), (10, 9, "is packed by deflate64")):
        bad = bytearray(whole)
        bad[central + offset] = value
        bad[offset - 2] = value
        path.write_bytes(bad)
        with pytest.raises(lesionedge.ImageError, match=words):
            content(f"zip://a.jpg::{path}")
        os.utime(path, ns=(value, value))


@pytest.mark.parametrize(
    ("method", "name"), [(zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "LZMA")]
)
def test_other_compression_methods_are_refused(tmp_path, jpeg, method, name):
    """zipfile would unpack more than a member claims to hold: a few bytes become gigabytes."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a.jpg", jpeg)
    found, errors, _ = listed(path)
    assert not errors
    with pytest.raises(lesionedge.ImageError, match=f"is packed by {name}; expected deflate: unp"):
        content(found[0])


def test_a_member_that_is_too_large(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.jpg", b"\0" * 100_000)
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 99_999)
    with pytest.raises(lesionedge.ImageError, match="is larger than"):
        content(f"zip://a.jpg::{path}")


def bomb(path, count):
    """Make members that share their data; each unpacks to 30 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr("0.jpg", b"\0" * 30_000_000)
    whole = path.read_bytes()
    at = whole.rindex(b"PK\x01\x02")
    head, rest = whole[at : at + 28], whole[at + 30 : at + 46]
    entries = b"".join(
        head + struct.pack("<H", len(name)) + rest + name
        for name in (b"%d.jpg" % number for number in range(count))
    )
    tail = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, len(entries), at, 0)
    path.write_bytes(whole[:at] + entries + tail)


def test_a_bomb_of_shared_data(tmp_path):
    bomb(tmp_path / "a.zip", 300)
    found, errors, _ = listed(tmp_path / "a.zip")
    assert found == []
    (error,) = errors
    assert error.endswith("a zip bomb")
    assert "would unpack to 9 GB" in error


def test_a_deferred_image_is_read_once_and_can_be_pickled(tree, tmp_path, jpeg, int8):
    import pickle

    path = packed(tree, tmp_path / "a.zip")
    name = f"zip://a.jpg::{path}"
    image = pickle.loads(pickle.dumps(DeferredImage(name)))
    prediction = lesionedge.Classifier(int8).classify(image)
    assert prediction.probability == lesionedge.Classifier(int8).classify(jpeg).probability
    os.unlink(path)
    assert image.read() == jpeg
    with pytest.raises(lesionedge.ImageError, match=r"a\.zip: no such file"):
        lesionedge.Classifier(int8).classify(DeferredImage(name))


# Addresses


@pytest.fixture
def site(tree):
    with FileServer(tree) as server:
        yield server


def test_an_address(site, jpeg):
    address = f"{site.url}/a.jpg"
    assert listed(address)[0] == [address]
    assert site.requested == []  # an image is only read when it is needed
    assert content(address) == jpeg
    assert content(f"{address}?size=large#top") == jpeg
    assert site.requested == ["/a.jpg", "/a.jpg?size=large"]


def test_a_page_of_links(site):
    found, errors, over = listed(f"{site.url}/")
    assert found == [f"{site.url}/{name}" for name in WANTED]
    assert (errors, len(over)) == ([], 4)
    assert sorted(site.requested) == ["/", "/deep/", "/deep/er/"]  # each once, nothing hidden
    assert listed(site.url)[0] == found
    assert listed(f"{site.url}/deep/")[0] == found[2:]
    assert listed(f"{site.url}/deep/*.jpx")[0] == [f"{site.url}/deep/c.jpx"]
    assert len(listed(f"{site.url}/**/*.jp*")[0]) == 3
    assert listed(f"{site.url}/*.none")[1] == [f"{site.url}/*.none: holds no images"]


def test_an_image_at_an_address_that_ends_with_a_slash(site, jpeg):
    site.behaviour["/snapshot/"] = lambda handler: site.send(handler, 200, jpeg, "image/jpeg")
    address = f"{site.url}/snapshot/"
    assert listed(address)[0] == [address]
    assert content(address) == jpeg


def test_odd_names_at_an_address(site, tree, jpeg):
    for name in ("with space.jpg", "über.jpg", "100%.jpg", "a#b.jpg", "q?.jpg"):
        (tree / name).write_bytes(jpeg)
    found = listed(f"{site.url}/")[0]
    assert len(found) == len(WANTED) + 5
    assert {content(address) for address in found} == {jpeg}
    assert content(f"{site.url}/with space.jpg") == jpeg
    assert content(f"{site.url}/über.jpg") == jpeg
    assert {"with space.jpg", "q?.jpg", "a#b.jpg"} <= {names.base_name(a) for a in found}


@pytest.mark.parametrize("ranges", [False, True])
def test_an_archive_at_an_address(tree, tmp_path, jpeg, ranges):
    packed(tree, tmp_path / "a.zip")
    with FileServer(tmp_path, ranges=ranges) as server:
        address = f"{server.url}/a.zip"
        found, errors, over = listed(address)
        assert found == [f"zip://{name}::{address}" for name in WANTED]
        assert (errors, len(over)) == ([], 4)
        assert content(found[0]) == content(found[-1]) == jpeg
        assert listed(f"zip://deep/::{address}")[0] == found[2:]
        assert set(server.requested) == {"/a.zip"}
        assert (len(server.requested) > 1) is ranges


def test_an_archive_that_changes_while_it_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("a.jpg", "b.jpg"):
            file.writestr(name, os.urandom(600_000))
    with FileServer(tmp_path, ranges=True) as server:
        first, second = listed(f"{server.url}/a.zip")[0]
        assert len(content(first)) == 600_000
        server.ranges = False  # how servers respond to If-Range if the file has changed
        with pytest.raises(lesionedge.ImageError, match=r"a\.zip: has changed while it was read"):
            content(second)


def served(site, path, status, body, kind="image/jpeg", headers=None):
    site.behaviour[path] = lambda handler: site.send(handler, status, body, kind, headers)
    return f"{site.url}{path}"


def test_responses_that_are_no_image_are_errors(site, jpeg):
    cases = {
        f"{site.url}/none.jpg": "no such file (404 Not Found)",
        served(site, "/gone.jpg", 410, b""): "no such file (410 Gone)",
        served(site, "/shut.jpg", 403, b""): "the server returned 403 Forbidden",
        served(site, "/bad.jpg", 500, b""): "the server returned 500 Internal Server Error",
        served(site, "/page.jpg", 200, b" <html>", "text/html"): "is a web page, not an image",
        served(
            site, "/gzip.jpg", 200, jpeg, headers={"Content-Encoding": "gzip"}
        ): "the server sent it compressed",
        "http://127.0.0.1:1/a.jpg": "cannot be read (Connection refused)",
        "http:///a.jpg": "names no server",
        "http://127.0.0.1:99999/a.jpg": "cannot be read",
        "http://[::1/a.jpg": "cannot be read",
        "https://127.0.0.1:1/a.jpg": "cannot be read",
        "http://..invalid/a.jpg": "cannot be read",
    }  # fmt: skip
    for address, words in cases.items():
        with pytest.raises(lesionedge.ImageError) as caught:
            content(address)
        assert str(caught.value).startswith(f"{address}: {words}"), caught.value
        assert "\n" not in str(caught.value)
    # An image that a server calls a web page is read as an image.
    assert content(served(site, "/lie.jpg", 200, jpeg, "text/html")) == jpeg


@pytest.mark.parametrize("base", ["", "http://[", "/shots/", "../shots/"])
def test_links_that_are_none_and_bases_of_links(site, base):
    links = "".join(f'<a href="{link}">x</a>' for link in ("http://[", "//[a.jpg", "a.jpg"))
    page = f'<base href="{base}">{links}'.encode()
    site.behaviour["/shots/"] = lambda handler: site.send(handler, 200, page, "text/html")
    assert listed(f"{site.url}/shots/")[:2] == ([f"{site.url}/shots/a.jpg"], [])


def test_an_address_that_is_none_is_an_error(tmp_path):
    assert listed("http://[/a.jpg")[0] == ["http://[/a.jpg"]
    assert names.base_name("http://[/a.jpg") == "a.jpg"
    with pytest.raises(lesionedge.ImageError, match="Invalid IPv6 URL"):
        content("http://[/a.jpg")


def test_pages_that_cannot_be_listed(site):
    address = f"{site.url}/none/"
    assert listed(address)[1] == [f"{address}: no such file (404 Not Found)"]
    assert listed("http://127.0.0.1:1/")[1] == [
        "http://127.0.0.1:1/: cannot be read (Connection refused)"
    ]
    assert listed("http://127.0.0.1:1/a.zip")[1][0].startswith("http://127.0.0.1:1/a.zip: cannot")


def test_redirects(site, tree, jpeg, tmp_path):
    go = site.redirect
    site.behaviour["/moved.jpg"] = lambda handler: go(handler, "/a.jpg")
    assert content(f"{site.url}/moved.jpg") == jpeg
    site.behaviour["/loop.jpg"] = lambda handler: go(handler, "/loop.jpg")
    site.behaviour["/file.jpg"] = lambda handler: go(handler, f"file://{tree}/a.jpg")
    site.behaviour["/ftp.jpg"] = lambda handler: go(handler, "ftp://127.0.0.1/a.jpg")
    for number in range(8):
        site.behaviour[f"/far{number}.jpg"] = (
            lambda handler, n=number: go(handler, f"/far{n + 1}.jpg")
        )  # fmt: skip
    for name, words in (
        ("loop", "redirects in a loop"), ("far0", "more than 5 times"), ("ftp", "is not followed"),
        ("file", "is not followed"),
    ):  # fmt: skip
        with pytest.raises(lesionedge.ImageError, match=words):
            content(f"{site.url}/{name}.jpg")
    assert content(f"{site.url}/far4.jpg".replace("far4", "moved")) == jpeg


def test_redirects_from_https_to_http_are_refused():
    import urllib.request

    handler = remote._Redirects()
    request = urllib.request.Request("https://example.org/a.jpg")
    with pytest.raises(lesionedge.ImageError, match="is not followed"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://example.org/a.jpg")
    assert handler.redirect_request(request, None, 302, "Found", {}, "https://example.org/b.jpg")


def test_passwords(tree, jpeg):
    with FileServer(tree, login="jane:se:cret") as server, FileServer(tree) as other:
        host = f"127.0.0.1:{server.port}"
        with pytest.raises(lesionedge.ImageError, match="401"):
            content(f"http://{host}/a.jpg")
        login = f"http://jane:se%3Acret@{host}"
        assert content(f"{login}/a.jpg") == jpeg
        found = listed(f"{login}/")[0]
        assert found == [f"{login}/{name}" for name in WANTED]
        assert content(found[-1]) == jpeg
        seen = []
        other.behaviour["/x.jpg"] = lambda handler: (
            seen.append(handler.headers.get("Authorization")),
            other.send(handler, 200, jpeg, "image/jpeg"),
        )
        server.behaviour["/away.jpg"] = lambda h: server.redirect(h, f"{other.url}/x.jpg")
        server.behaviour["/here.jpg"] = lambda h: server.redirect(h, "/a.jpg")
        assert content(f"{login}/away.jpg") == jpeg
        assert seen == [None]  # other servers do not get the password
        assert content(f"{login}/here.jpg") == jpeg


def test_limits(site, jpeg, monkeypatch):
    monkeypatch.setattr(remote, "MAX_IMAGE_BYTES", 1000)
    with pytest.raises(lesionedge.ImageError, match="is larger than"):
        content(f"{site.url}/a.jpg")

    def endless(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        except OSError:
            pass

    site.behaviour["/endless.jpg"] = endless
    with pytest.raises(lesionedge.ImageError, match="is larger than"):
        content(f"{site.url}/endless.jpg")


def test_files_that_are_cut_short(site, jpeg):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(jpeg)))
        handler.end_headers()
        handler.wfile.write(jpeg[:500])
        handler.close_connection = True

    site.behaviour["/cut.jpg"] = cut
    with pytest.raises(lesionedge.ImageError, match="was cut short"):
        content(f"{site.url}/cut.jpg")


@pytest.mark.parametrize("where", ["before", "within"])
def test_servers_that_are_silent_or_slow(site, jpeg, monkeypatch, where):
    monkeypatch.setattr(remote, "TIMEOUT_S", 0.2)
    ended = threading.Event()

    def silent(handler):
        if where == "within":
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(jpeg)))
            handler.end_headers()
            handler.wfile.write(jpeg[:100])
        ended.wait(10)

    site.behaviour["/silent.jpg"] = silent
    with pytest.raises(lesionedge.ImageError, match="no response in"):
        content(f"{site.url}/silent.jpg")
    ended.set()


def test_a_server_that_sends_too_slowly(site, monkeypatch):
    monkeypatch.setattr(remote, "MAX_S", 0.3)

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            pass

    site.behaviour["/drip.jpg"] = drip
    with pytest.raises(lesionedge.ImageError, match="did not arrive in"):
        content(f"{site.url}/drip.jpg")


def test_pages_without_end(site, monkeypatch):
    monkeypatch.setattr(remote, "MAX_PAGES", 20)
    site.behaviour = {}

    def page(handler):
        site.send(handler, 200, b'<a href="x/">deeper</a>', "text/html")

    site.respond = page
    assert "more than 20 pages of links" in listed(f"{site.url}/")[1][0]

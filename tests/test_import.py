from __future__ import annotations

import subprocess
import sys

import pytest

import lesionedge


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = loaded_after("import lesionedge")
    assert not loaded & {
        "numpy",
        "PIL",
        "click",
        "ai_edge_litert",
        "tflite_runtime",
        "json",
        "zipfile",
    }


def test_predict_loads_neither_web_nor_camera_nor_tensorflow(int8, picture):
    code = (
        "from click.testing import CliRunner\nfrom lesionedge.cli import main\n"
        f"print(CliRunner().invoke(main, ['predict', {str(picture)!r}, '-m', {int8!r}]).exit_code)"
    )
    loaded = loaded_after(code)
    assert "lesionedge.classifier" in loaded
    heavy = {"tensorflow", "tf_keras", "fastapi", "cv2", "av", "matplotlib", "pandas", "scipy",
             "multiprocessing", "lesionedge.render", "lesionedge.web",
             "lesionedge.camera"}  # fmt: skip
    assert not loaded & heavy


@pytest.mark.parametrize("name", lesionedge.__all__)
def test_every_public_name_is_there(name):
    assert getattr(lesionedge, name) is not None
    assert name in dir(lesionedge)


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lesionedge.nonsense  # noqa: B018


def test_the_errors_tree():
    for name in ("ImageError", "ModelError", "CameraError", "MissingDependencyError"):
        assert issubclass(getattr(lesionedge, name), lesionedge.LesionEdgeError)
    assert issubclass(lesionedge.MissingDependencyError, ImportError)


def test_diagnoses():
    from lesionedge.diagnosis import HAM10000, describe, describe_all

    assert {d.label for d in HAM10000 if d.malignant} == {"mel", "bcc", "akiec"}
    assert describe("MEL").name == "Melanoma"
    assert describe("MEL").label == "MEL"
    assert describe("thing").name == "thing"
    assert [d.malignant for d in describe_all(["nv", "bcc"])] == [False, True]

from __future__ import annotations

import pickle

import pytest

import lesionedge
from lesionedge import errors

KINDS = ["ImageError", "ModelError", "CameraError", "MissingDependencyError"]


@pytest.mark.parametrize("name", KINDS)
def test_one_error_catches_all(name):
    kind = getattr(lesionedge, name)
    assert kind is getattr(errors, name)
    assert issubclass(kind, lesionedge.LesionEdgeError)
    assert name in (errors.__doc__ or "")


def test_the_tree_holds_all_errors():
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined == {*KINDS, "LesionEdgeError", "MissingDecoderError"}


def test_an_image_that_needs_a_missing_library_is_caught_as_either():
    assert issubclass(errors.MissingDecoderError, lesionedge.ImageError)
    assert issubclass(errors.MissingDecoderError, lesionedge.MissingDependencyError)
    error = pickle.loads(pickle.dumps(errors.MissingDecoderError("a.heic: pip install")))
    assert str(error) == "a.heic: pip install"


def test_a_missing_library_is_an_import_error_too():
    with pytest.raises(ImportError, match="pip install something"):
        raise lesionedge.MissingDependencyError("pip install something")


def test_no_error_is_a_subclass_of_a_common_builtin():
    for name in ("ImageError", "ModelError", "CameraError"):
        assert not issubclass(getattr(lesionedge, name), (OSError, ValueError, RuntimeError))


@pytest.mark.parametrize("name", KINDS)
def test_errors_can_be_pickled(name):
    error = pickle.loads(pickle.dumps(getattr(lesionedge, name)("a.jpg: is empty")))
    assert type(error) is getattr(lesionedge, name)
    assert str(error) == "a.jpg: is empty"

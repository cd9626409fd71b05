from __future__ import annotations

import dataclasses

import pytest

from lesionedge import Diagnosis
from lesionedge.diagnosis import HAM10000, OTHERS, describe, describe_all


def test_the_malignant_ones_of_ham10000():
    assert {d.label for d in HAM10000 if d.malignant} == {"mel", "bcc", "akiec"}
    assert len(HAM10000) == 7


def test_no_label_means_two_things():
    labels = [d.label for d in HAM10000 + OTHERS]
    assert len(set(labels)) == len(labels)
    assert all(label == label.lower() for label in labels)


def test_a_label_is_known_in_any_case_and_kept_as_it_is_spelt():
    assert describe("MEL") == Diagnosis("MEL", "Melanoma", malignant=True)
    assert describe(" nv ").name == "Melanocytic nevus"


def test_an_unknown_label_is_its_own_name_and_benign():
    assert describe("thing") == Diagnosis("thing", "thing", malignant=False)


def test_the_order_is_the_givers():
    assert [d.label for d in describe_all(["nv", "bcc"])] == ["nv", "bcc"]
    assert [d.malignant for d in describe_all(["nv", "bcc"])] == [False, True]


def test_a_meaning_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        describe("mel").malignant = False

"""The meaning of labels, as spelled in every published dataset and in other people's models."""

from __future__ import annotations

import dataclasses
import re

import pytest

from lesionedge import diagnosis
from lesionedge.diagnosis import HAM10000, Diagnosis, classes, describe, describe_all, match, same

MALIGNANT = {
    "ham10000": {"mel", "bcc", "akiec", "Melanoma", "melanoma (mel)", "Basal cell carcinoma",
                 "Actinic keratoses and intraepithelial carcinoma / Bowen's disease (akiec)",
                 "akiec, Actinic Keratoses (Solar Keratoses) or intraepithelial Carcinoma (Bowen’s "
                 "disease)", "Actinic keratoses",
                 "Actinic keratoses and intraepithelial carcinomae (akiec)"},
    "isic 2016 to 2020": {"malignant", "melanoma", "MEL", "BCC", "AK", "SCC",
                          "Actinic keratosis / Bowen's disease (intraepithelial carcinoma)"},
    "nine folders": {"actinic keratosis", "basal cell carcinoma", "melanoma",
                     "squamous cell carcinoma"},
    "milk10k": {"AKIEC", "BCC", "MAL_OTH", "MEL", "SCCKA",
                "Actinic keratosis / intraepidermal carcinoma",
                "Squamous cell carcinoma / keratoacanthoma",
                "Other malignant proliferations, including collision tumors"},
    "bcn20000": {"Melanoma, NOS", "Squamous cell carcinoma, NOS", "Solar or actinic keratosis",
                 "Melanoma metastasis"},
    "pad-ufes": {"ACK", "BCC", "MEL", "SCC", "BOD", "Bowen's disease"},
    "derm7pt": {"melanoma (in situ)", "melanoma (less than 0.76 mm)", "melanoma (0.76 to 1.5 mm)",
                "melanoma (more than 1.5 mm)", "melanoma metastasis", "basal cell carcinoma"},
    "fitzpatrick17k": {"malignant melanoma", "malignant epidermal", "malignant dermal",
                       "malignant cutaneous lymphoma"},
    "others": {"Merkel cell carcinoma", "Kaposi's sarcoma", "lentigo maligna", "MCC", "DFSP",
               "mycosis fungoides", "cutaneous T-cell lymphoma", "metastases", "keratoacanthomas",
               "skin cancer", "Cancer", "non-melanoma skin cancer", "NMSC", "amelanotic melanoma",
               "Actinic Keratosis Basal Cell Carcinoma and other Malignant Lesions",
               "Melanoma 15.75k", "Basal Cell Carcinoma (BCC) 3323"},
}  # fmt: skip
BENIGN = {
    "ham10000": {"bkl", "df", "nv", "vasc", "Melanocytic nevi", "Melanocytic nevi (nv)",
                 "benign keratosis-like lesions (solar lentigines / seborrheic keratoses and "
                 "lichen-planus like keratoses, bkl)", "Dermatofibroma",
                 "vascular lesions (angiomas, angiokeratomas, pyogenic granulomas and hemorrhage, "
                 "vasc)", "pyogenic granulomas and hemorrhage"},
    "isic 2016 to 2020": {"benign", "nevus", "seborrheic_keratosis", "NV", "BKL", "DF", "VASC",
                          "lentigo NOS", "lichenoid keratosis", "solar lentigo",
                          "cafe-au-lait macule"},
    "nine folders": {"dermatofibroma", "nevus", "pigmented benign keratosis",
                     "seborrheic keratosis", "vascular lesion"},
    "milk10k": {"BEN_OTH", "BKL", "DF", "INF", "NV", "VASC", "Benign keratinocytic lesion",
                "Other benign proliferations, including collision tumors",
                "Inflammatory and infectious conditions", "Vascular lesions and hemorrhage"},
    "bcn20000": {"Nevus", "Solar lentigo", "Seborrheic keratosis", "Scar"},
    "pad-ufes": {"NEV", "SEK"},
    "derm7pt": {"blue nevus", "clark nevus", "combined nevus", "congenital nevus", "dermal nevus",
                "recurrent nevus", "reed or spitz nevus", "lentigo", "melanosis", "vascular lesion",
                "BLN", "CN", "CBN", "CGN", "DN", "RN", "RSN", "LT", "MLS", "SK", "VL"},
    "ph2": {"Common Nevus", "Atypical Nevus"},
    "fitzpatrick17k": {"benign dermal", "benign epidermal", "benign melanocyte", "inflammatory",
                       "genodermatoses", "non-neoplastic"},
    "others": {"Seborrhoeic keratoses", "angiomas", "Spitz naevus", "dysplastic nevi", "moles",
               "not malignant", "non-malignant", "noncancerous", "no cancer", "healthy skin",
               "Seborrheic Keratoses and other Benign Tumors", "viral warts", "skin tag",
               "Warts Molluscum and other Viral Infections - 2103", "Eczema 1677",
               "Psoriasis pictures Lichen Planus and related diseases - 2k"},
}  # fmt: skip
OPEN = {
    "left open": {"unknown", "UNK", "other", "indeterminate", "none of the others", "lesion",
                  "miscellaneous", "MISC", "DF/LT/MLS/MISC", "indeterminate/benign",
                  "atypical melanocytic proliferation", "AIMP", "Atypical Spitz tumor",
                  "pigmented lesion", "keratosis", "cutaneous horn", "premalignant", "nodule"},
    "both": {"melanoma and nevus", "Melanoma Skin Cancer Nevi and Moles", "malignant/benign",
             "benign melanoma", "Benign:Malignant melanoma"},
    "negated": {"non-melanoma", "NotMelanoma", "not melanoma", "no melanoma", "nonmelanoma",
                "Nevus, not melanoma", "nevus vs melanoma", "melanoma-negative", "melanoma -",
                "!mel", "rule out melanoma", "melanoma free", "melanoma_0", "melanoma: no",
                "非melanoma", "kein Melanom", "not benign", "non-benign", "melanoma = false",
                "melanoma 100", "melanoma and other infections"},
    "unsure": {"melanoma?", "suspected melanoma", "suspicious nevus", "melanoma-like nevus",
               "nevus or other", "other/nevus", "severely dysplastic nevus", "benign?"},
    "not skin": {"thing", "Class 1", "0", "", " ", "-", "cat", "squamous cell papilloma",
                 "basal cell nevus syndrome", "x" * 5000, "melanoma " * 200},
}  # fmt: skip


def spelt_otherwise(label: str):
    """Yield other spellings of a label that mean the same."""
    yield from (label.upper(), label.lower(), label.title(), f" {label}\t")
    yield from (f"0 {label}", f"12: {label}", f"[3] {label}", f"04_{label}", f"#1 - {label}")
    yield from (label.replace(" ", "_"), label.replace(" ", "-"))


NAMED = [
    pytest.param(wanted, labels, id=f"{name}-{wanted}")
    for wanted, named in ((True, MALIGNANT), (False, BENIGN), (None, OPEN))
    for name, labels in named.items()
]


@pytest.mark.parametrize(("wanted", "labels"), NAMED)
def test_every_class_of_the_published_datasets(wanted, labels):
    for label in labels:
        assert describe(label).malignant is wanted, label


@pytest.mark.parametrize(("wanted", "labels"), [p for p in NAMED if p.values[0] is not None])
def test_other_spellings_mean_the_same(wanted, labels):
    for label in labels:
        for other in spelt_otherwise(label):
            assert describe(other).malignant is wanted, other


@pytest.mark.parametrize(
    ("label", "code"),
    [("basalcellcarcinoma", "bcc"), ("BasalCellCarcinomas", "bcc"), ("melanocyticnevi", "nv"),
     ("SeborrheicKeratoses", "sk"), ("squamousCellCarcinoma", "scc"), ("vascularlesions", "vasc"),
     ("Carcinoma, Basal Cell", "bcc"), ("Keratosis, seborrheic", "sk"), ("nævi", "nv"),
     ("Verrucae seborrhoicae", None), ("Dermatofibromata", "df")],
)  # fmt: skip
def test_words_run_together_and_turned_around(label, code):
    assert describe(label).code == code


def test_the_archive_s_terms_mean_what_the_archive_says():
    hierarchy = pytest.importorskip(
        "isic_metadata.diagnosis_hierarchical", reason="isic-metadata lists the archive's terms"
    )
    terms = [member.value for member in hierarchy.DiagnosisEnum]
    assert len(terms) > 400
    for path in terms:
        root, last = path.split(":")[0], path.split(":")[-1]
        wanted = {"Benign": False, "Malignant": True}.get(root)
        if "ctinic keratosis" in last:  # the archive leaves it open
            wanted = True
        for spelling in (path, last, last.upper(), last.replace(" ", "_"), f"3 {last}"):
            assert describe(spelling).malignant is wanted, spelling


def test_the_archive_s_earlier_terms():
    fields = pytest.importorskip("isic_metadata.fields", reason="isic-metadata lists the terms")
    malignant = {"melanoma", "melanoma metastasis", "basal cell carcinoma", "actinic keratosis",
                 "squamous cell carcinoma", "merkel cell carcinoma"}  # fmt: skip
    unsure = {"adnexal tumor", "AIMP", "atypical spitz tumor", "atypical melanocytic proliferation",
              "other"}  # fmt: skip
    for member in fields.LegacyDxEnum:
        wanted = None if member.value in unsure else member.value in malignant
        assert describe(member.value).malignant is wanted, member.value


def test_the_place_in_the_archive_s_tree_decides_on_terms_to_come():
    assert describe("Malignant:A term of next year").malignant is True
    assert describe("Benign:Cysts:A term of next year").malignant is False
    assert describe("Indeterminate:A term of next year").malignant is None
    assert describe("Benign:Something:Melanoma Invasive").malignant is None
    assert describe("Something:A term of next year").malignant is None


def test_codes_are_those_of_the_datasets():
    for label, code in {
        "Melanoma Invasive": "mel", "0 mel": "mel", "Melanocytic nevi": "nv", "NEV": "nv",
        "Actinic keratosis": "ak", "Bowen’s disease": "bod", "SCC in situ": "bod",
        "SEK": "sk", "seborrheic warts": "sk",
        "Squamous cell carcinoma, Invasive": "scc", "Haemangioma": "vasc", "Milium": "ben_oth",
        "Verruca": "inf", "Merkel cell carcinoma": "mal_oth", "Benign": "benign", "UNK": "unk",
        "basal cell carcinoma / squamous cell carcinoma": "malignant", "thing": None,
        "solar lentigo or seborrheic keratosis": "bkl", "melanoma and nevus": None,
    }.items():  # fmt: skip
        assert describe(label).code == code, label


def test_a_code_gets_its_name_and_a_name_stays():
    for label, name in {
        "MEL": "Melanoma", " nv ": "Melanocytic nevus", "1: bcc": "Basal cell carcinoma",
        "ACK": "Actinic keratosis", "melanoma": "Melanoma", "Melanoma Invasive":
        "Melanoma Invasive", "seborrheic_keratosis": "Seborrheic keratosis", "thing": "thing",
        "2 clark nevus": "Clark nevus", "CN": "CN", "my_class": "my_class",
    }.items():  # fmt: skip
        assert describe(label).name == name, label
        assert describe(label).label == label


def test_classes_go_from_the_narrowest_to_the_widest():
    assert classes("seborrheic keratosis") == ("sk", "bkl", "benign")
    assert classes("Melanoma in situ") == ("mel", "malignant")
    assert classes("AK") == ("ak", "akiec", "malignant")
    assert classes("thing") == ()


def test_a_dataset_s_label_finds_the_model_s():
    seven = [d.label for d in HAM10000]
    isic_2019 = ["MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"]
    names = ["Melanoma", "nevus", "Seborrheic Keratoses"]
    two = ["benign", "malignant"]
    for label, *wanted in [
        ("Melanoma Invasive", "mel", "MEL", "Melanoma", "malignant"),
        ("seborrheic_keratosis", "bkl", "BKL", "Seborrheic Keratoses", "benign"),
        ("actinic keratosis", "akiec", "AK", None, "malignant"),
        ("Bowen's disease", "akiec", "SCC", None, "malignant"),
        ("SCC", None, "SCC", None, "malignant"),
        ("clark nevus", "nv", "NV", "nevus", "benign"),
        ("akiec", "akiec", "AK", None, "malignant"),
        ("Syringoma", None, None, None, "benign"),
        ("unknown", None, "UNK", None, None),
        ("thing", None, None, None, None),
    ]:
        assert [match(label, model) for model in (seven, isic_2019, names, two)] == wanted, label


def test_a_kind_of_a_class_does_not_stand_for_the_class():
    assert match("melanoma in situ", ["melanoma invasive", "nevus"]) is None
    assert match("psoriasis", ["eczema", "nevus"]) is None
    assert match("eczemas", ["eczema", "nevus"]) == "eczema"
    assert match("bkl", ["sk", "pbk", "nv"]) is None
    assert match("nevus", ["common nevus", "atypical nevus"]) is None
    assert match("mel", ["Melanoma", "melanomas"]) is None  # both fit
    assert match("premalignant", ["non-melanoma", "melanoma"]) is None
    assert match("melanoma or nevus", ["bcc or nevus"]) is None


def test_the_same_class_in_another_spelling():
    assert same("mel", ["nevus", "Melanoma"]) == "Melanoma"
    assert same("MELANOMA", ["nv", "mel"]) == "mel"
    assert same("0 thing", ["thing", "mel"]) == "thing"
    assert same("sk", ["bkl", "mel"]) is None
    assert same("melanoma in situ", ["mel"]) is None


def test_unknown_labels_stay_unchanged():
    assert describe("thing") == Diagnosis("thing", "thing", None, None)


def test_the_order_of_labels_is_kept():
    assert [d.label for d in describe_all(["nv", "bcc", "mel"])] == ["nv", "bcc", "mel"]
    assert [d.malignant for d in describe_all(["nv", "bcc"])] == [False, True]


def test_a_diagnosis_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        describe("mel").malignant = False


def test_the_seven_agree_with_the_vocabulary():
    from lesionedge import terms

    for known in HAM10000:
        meaning = terms.meaning(known.label)
        assert (meaning.code, meaning.name, meaning.malignant) == (
            known.code, known.name, known.malignant,
        )  # fmt: skip
        assert diagnosis.describe(known.name).code == known.code


def vocabulary_terms():
    """Return each code, abbreviation and name of the vocabulary with the class that it is under."""
    from lesionedge import vocabulary

    for line in vocabulary.CLASSES.strip().splitlines():
        code = line.split()[0]
        yield code, code
    for line in vocabulary.ABBREVIATIONS.strip().splitlines():
        code, _, listed = line.partition(":")
        yield from ((term, code) for term in listed.replace("|", " ").split())
    for block in vocabulary.TERMS.strip().split("\n\n"):
        code, _, listed = block.partition("\n")
        yield from ((term.strip(" =\n"), code) for term in re.split("[;|]", listed))


def test_every_term_of_the_vocabulary_stands_under_one_class():
    """A term that is left under the class that it was moved from would hide the new one."""
    found = [
        (term, code, describe(" ".join(term.split())).code) for term, code in vocabulary_terms()
    ]
    hidden = [
        f"{term} of {code} stands under {other}, too: remove it there"
        for term, code, other in found
        if other != code
    ]
    assert not hidden, "; ".join(hidden)


def test_every_class_of_the_vocabulary_is_filed_under_classes_of_its_own():
    from lesionedge import vocabulary

    rows = vocabulary.CLASSES.strip().splitlines()
    codes = {row.split()[0] for row in rows}
    assert codes >= {code for row in rows for code in row.partition("|")[2].split()}
    assert codes >= {code for _, code in vocabulary_terms()}
    abbreviations = vocabulary.ABBREVIATIONS.strip().splitlines()
    assert [row for row in abbreviations if ":" not in row] == []

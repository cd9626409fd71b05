"""Collections that others publish, drawn in the structure in which people download them."""

from __future__ import annotations

from collections import Counter

import pytest

pytest.importorskip("pandas", reason="needs the extra evaluate")

from lesionedge import datasets
from lesionedge.datasets import DatasetError, gather, meaning
from lesionedge.diagnosis import describe_all

LABELS = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


@pytest.fixture
def put(tmp_path, draw):
    """Writes drawn images, and tables."""

    def write(path, text=None):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            draw(48, 36, seed=len(str(path)) + sum(map(ord, str(path)))).save(file)
        else:
            file.write_text(text)
        return file

    return write


def understood(labelled):
    """Return the model's class of each label, and what becomes of the others."""
    found = meaning.understand(labelled.table["label"], describe_all(LABELS), name="x")
    return found.kind, {one.label: found.target(one) for one in found.meanings}


PH2 = (
    "|| Name       || Histological Diagnosis || Clinical Diagnosis || Asymmetry || Colors    ||\n"
    "|| IMD003     ||                        ||                  0 ||         0 || 4         ||\n"
    "|| IMD009     ||                        ||                  1 ||         0 || 3  4      ||\n"
    "|| IMD058     || Melanoma               ||                  2 ||         2 || 1 3 4 5 6 ||\n"
    "|| IMD999     ||                        ||                  0 ||         0 || 4         ||\n"
    "\nLegends:\nClinical Diagnosis: 0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma.\n"
)


def test_ph2(tmp_path, put):
    put("PH2_dataset.txt", PH2)
    for case in ("IMD003", "IMD009", "IMD058"):
        folder = f"PH2 Dataset images/{case}"
        put(f"{folder}/{case}_Dermoscopic_Image/{case}.bmp")
        put(f"{folder}/{case}_lesion/{case}_lesion.bmp")
        put(f"{folder}/{case}_roi/{case}_R1_Label4.bmp")
    found = gather.gather(str(tmp_path))
    assert found.name == "PH2"
    assert found.table["label"].tolist() == ["common nevus", "atypical nevus", "melanoma"]
    assert [path.rsplit("/", 1)[1] for path in found.paths] == [
        "IMD003.bmp", "IMD009.bmp", "IMD058.bmp"
    ]  # fmt: skip
    assert found.skipped == {"no image": 1}
    kind, targets = understood(found)
    assert kind == "classes"
    assert targets == {"common nevus": "nv", "atypical nevus": "nv", "melanoma": "mel"}
    put("PH2_dataset.txt", "nothing\n")
    with pytest.raises(DatasetError, match="names no case"):
        datasets.load(tmp_path)


CODES = ("AKIEC", "BCC", "BEN_OTH", "BKL", "DF", "INF", "MAL_OTH", "MEL", "NV", "SCCKA", "VASC")


def test_milk10k(tmp_path, put):
    rows, about = [], ["lesion_id,image_type,isic_id,age_approx,sex,skin_tone_class,site"]
    for number, code in enumerate(CODES):
        lesion = f"IL_{number:07d}"
        rows.append(",".join([lesion, *(str(float(one == code)) for one in CODES)]))
        for kind, image in (("clinical: close-up", 2 * number), ("dermoscopic", 2 * number + 1)):
            name = f"ISIC_{image:07d}"
            about.append(f"{lesion},{kind},{name},50,female,3,trunk")
            put(f"MILK10k_Training_Input/{lesion}/{name}.jpg")
    put(
        "MILK10k_Training_GroundTruth.csv", "\n".join([",".join(["lesion_id", *CODES]), *rows])
    )  # fmt: skip
    put("MILK10k_Training_Metadata.csv", "\n".join(about))
    put("MILK10k_Training_Supplement.csv", "isic_id,diagnosis_full\nISIC_0000001,Melanoma\n")
    found = gather.gather(str(tmp_path))
    assert found.name == "MILK10k"
    assert len(found.paths) == len(CODES)
    assert found.skipped == {"image_type is not dermoscopic": len(CODES)}
    assert found.table["lesion"].nunique() == len(CODES)
    assert set(found.table["localization"]) == {"trunk"}
    kind, targets = understood(found)
    assert kind == "classes"
    assert {label for label, target in targets.items() if not target.startswith("left out")} == {
        *LABELS
    }
    assert meaning.understand(["scc", "nv"], describe_all(LABELS), name="x").malignant("scc")
    (tmp_path / "MILK10k_Training_Metadata.csv").unlink()
    with pytest.raises(DatasetError, match=r"_Metadata\.csv"):
        datasets.load(tmp_path)


def test_bcn20000(tmp_path, put):
    columns = (
        "bcn_filename,age_approx,anatom_site_general,diagnosis,lesion_id,capture_date,sex,split"
    )
    lines = [columns]
    for number, label in enumerate(("MEL", "NV", "BCC", "SCC", "AK", "BKL", "DF", "VASC")):
        name = f"BCN_{number:010d}.jpg"
        put(f"BCN_20k_train/bcn_20k_train/{name}")
        lines.append(f"{name},55.0,anterior torso,{label},BCN_{number // 2},2012-05-16,male,train")
    truth = put("bcn_20k_train.csv", "\n".join(lines))
    found = gather.gather(str(tmp_path / "BCN_20k_train"), truth_file=str(truth))
    assert len(found.paths) == 8
    assert found.table["lesion"].nunique() == 4
    assert found.table["localization"].iloc[0] == "anterior torso"
    kind, targets = understood(found)
    assert kind == "classes"
    assert (targets["MEL"], targets["BKL"], targets["AK"]) == ("mel", "bkl", "akiec")


def test_derm7pt(tmp_path, put):
    head = "case_num,diagnosis,seven_point_score,location,sex,management,clinic,derm,case_id,notes"
    cases = ["basal cell carcinoma", "clark nevus", "melanoma (in situ)", "seborrheic keratosis",
             "melanoma (less than 0.76 mm)", "vascular lesion", "dermatofibroma",
             "reed or spitz nevus", "melanoma metastasis", "lentigo"]  # fmt: skip
    lines = [head]
    for number, diagnosis in enumerate(cases):
        names = f"NEL/NEL{number:03d}.JPG", f"NEL/Nel{number:03d}.jpg"
        lines.append(f"{number},{diagnosis},0,trunk,female,excision,{names[0]},{names[1]},,")
        for name in names:
            put(f"images/{name}")
    truth = put("meta/meta.csv", "\n".join(lines))
    found = gather.gather(str(tmp_path / "images"), truth_file=str(truth))
    assert len(found.paths) == len(cases)
    assert all("/Nel" in path for path in found.paths)
    assert found.skipped == {"image without a row of truth": len(cases)}
    kind, targets = understood(found)
    assert kind == "classes"
    assert targets["melanoma (in situ)"] == targets["melanoma (less than 0.76 mm)"] == "mel"
    assert (targets["clark nevus"], targets["reed or spitz nevus"]) == ("nv", "nv")
    assert (targets["vascular lesion"], targets["seborrheic keratosis"]) == ("vasc", "bkl")


def test_hiba(tmp_path, put):
    """A collection of the ISIC archive, as its download has been laid out since 2024."""
    head = (
        "isic_id,attribution,copyright_license,age_approx,diagnosis_1,diagnosis_3,image_type,"
        "lesion_id,patient_id,sex"
    )
    lines = [head]
    kinds = [("Malignant", "Melanoma Invasive"), ("Benign", "Nevus")]
    for number in range(6):
        image = "clinical: close-up" if number == 5 else "dermoscopic"
        name = f"ISIC_{number:07d}"
        put(f"{name}.jpg")
        lines.append(",".join([name, "HIBA", "CC-BY", "60", *kinds[number % 2], image,
                               f"IL_{number}", f"IP_{number // 2}", "male"]))  # fmt: skip
    truth = put("metadata.csv", "\n".join(lines))
    found = gather.gather(str(tmp_path))
    assert Counter(found.table["label"]) == {"malignant": 3, "benign": 2}
    assert found.skipped == {"image_type is clinical: close-up": 1}
    assert found.table["patient"].nunique() == 3
    assert understood(found)[0] == "malignant"
    by_class = gather.gather(str(tmp_path), truth_file=str(truth))
    assert understood(by_class) == ("classes", {"Melanoma Invasive": "mel", "Nevus": "nv"})


def test_pad_ufes_20(tmp_path, put):
    head = "patient_id,lesion_id,smoke,age,fitspatrick,region,gender,diagnostic,img_id,biopsed"
    lines = [head]
    for number, label in enumerate(("NEV", "BCC", "ACK", "SEK", "SCC", "MEL")):
        name = f"PAT_{number}_{number}_{number}.png"
        put(f"images/imgs_part_{number % 3 + 1}/{name}")
        lines.append(f"PAT_{number},{number},False,55,3.0,NECK,FEMALE,{label},{name},True")
    truth = put("metadata.csv", "\n".join(lines))
    found = gather.gather(str(tmp_path / "images"), truth_file=str(truth))
    assert len(found.paths) == 6
    assert found.table["skin_type"].tolist() == ["3.0"] * 6
    assert found.table["localization"].tolist() == ["NECK"] * 6
    kind, targets = understood(found)
    assert kind == "classes"
    assert (targets["NEV"], targets["ACK"], targets["SEK"], targets["MEL"]) == (
        "nv", "akiec", "bkl", "mel"
    )  # fmt: skip

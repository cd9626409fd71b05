"""Datasets are read as they are published; what only looks like class folders is refused.

Folders and tables have the names, columns and oddities of the published archives; the images in
them are drawn.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn", reason="the train extra is not installed")
from lesionedge import datasets
from lesionedge.datasets import DatasetError


@pytest.fixture
def put():
    """Writes an image of its own content under each name, and text files."""
    rng = np.random.default_rng(7)

    def write(root: Path, **files: str) -> None:
        for folder, names in files.items():
            for name in names.split():
                path = root / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (4, 4, 3), np.uint8)).save(path)

    return write


def table(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("|", "\t"), encoding="utf-8")


def found(root: Path, column: str = "label", **options: str) -> dict[str, object]:
    rows = datasets.load(root, **options).table
    values = (value if isinstance(value, str) else None for value in rows[column])
    return {path.stem: value for path, value in zip(rows["path"], values)}


HAM = """lesion_id|image_id|dx|dx_type|age|sex|localization|dataset
"HAM_1"|"ISIC_1"|"bkl"|"histo"|80.0|"male"|"scalp"|"vidir_modern"
"HAM_1"|"ISIC_2"|"bkl"|"histo"|80.0|"male"|"scalp"|"vidir_modern"
"HAM_2"|"ISIC_3"|"nv"|"follow_up"||"unknown"|"back"|"rosendahl"
"""
PARTS = {"HAM10000_images_part_1": "ISIC_1.jpg ISIC_3.jpg", "HAM10000_images_part_2": "ISIC_2.jpg"}


@pytest.mark.parametrize(
    "name", ["HAM10000_metadata.tab", "HAM10000_metadata", "ham10000_metadata.TAB"]
)
def test_ham10000_as_the_dataverse_gives_it(tmp_path, put, name):
    table(tmp_path / name, HAM)
    put(tmp_path, **PARTS, HAM10000_segmentations_lesion_tschandl="ISIC_1_segmentation.png")
    read = datasets.load(tmp_path)
    assert (read.name, read.modality, read.skipped) == ("HAM10000", "dermoscopy", {})
    assert found(tmp_path) == {"ISIC_1": "bkl", "ISIC_2": "bkl", "ISIC_3": "nv"}
    assert found(tmp_path, "lesion") == {"ISIC_1": "HAM_1", "ISIC_2": "HAM_1", "ISIC_3": "HAM_2"}
    assert found(tmp_path, "age") == {"ISIC_1": "80.0", "ISIC_2": "80.0", "ISIC_3": None}


def test_ham10000_as_kaggle_gives_it(tmp_path, put):
    table(tmp_path / "HAM10000_metadata.csv", HAM.replace("|", ",").replace('"', ""))
    table(tmp_path / "hmnist_8_8_RGB.csv", "pixel0000,label\n12,2\n")
    put(tmp_path, **PARTS)
    for part in PARTS:  # both spellings are in the download, of the same images
        shutil.copytree(tmp_path / part, tmp_path / part.lower())
    read = datasets.load(tmp_path)
    assert found(tmp_path) == {"ISIC_1": "bkl", "ISIC_2": "bkl", "ISIC_3": "nv"}
    assert {path.parent.name for path in read.table["path"]} == set(PARTS)


def test_ham10000_in_nested_folders_and_with_semicolons(tmp_path, put):
    table(tmp_path / "HAM10000_metadata.csv", HAM.replace("|", ";"))
    put(tmp_path, **{f"{part}/{part}": names for part, names in PARTS.items()})
    put(tmp_path, HAM10000_images_part_1="._ISIC_1.jpg")
    assert found(tmp_path) == {"ISIC_1": "bkl", "ISIC_2": "bkl", "ISIC_3": "nv"}


def test_archives_that_are_not_unpacked_are_named(tmp_path):
    table(tmp_path / "HAM10000_metadata.tab", HAM)
    (tmp_path / "HAM10000_images_part_1.zip").touch()
    with pytest.raises(DatasetError, match=r"no images; unpack HAM10000_images_part_1\.zip first"):
        datasets.load(tmp_path)


def isic_2016(root: Path, put) -> None:
    table(
        root / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv",
        "ISIC_0000000,benign\nISIC_0000002,malignant\n",
    )
    table(root / "ISBI2016_ISIC_Part3_Test_GroundTruth.csv", "ISIC_0000003,0.0\nISIC_0000013,1.0\n")
    put(
        root,
        ISBI2016_ISIC_Part3_Training_Data="ISIC_0000000.jpg ISIC_0000002.jpg",
        ISBI2016_ISIC_Part3_Test_Data="ISIC_0000003.jpg ISIC_0000013.jpg",
        ISBI2016_ISIC_Part1_Training_GroundTruth="ISIC_0000000_Segmentation.png",
    )


def test_isic_2016(tmp_path, put):
    isic_2016(tmp_path, put)
    read = datasets.load(tmp_path)
    assert (read.name, read.licence) == ("ISIC challenge 2016", "CC0 1.0")
    assert found(tmp_path) == {
        "ISIC_0000000": "benign", "ISIC_0000002": "malignant",
        "ISIC_0000003": "benign", "ISIC_0000013": "malignant",
    }  # fmt: skip
    assert found(tmp_path, "given") == {
        "ISIC_0000000": "train", "ISIC_0000002": "train",
        "ISIC_0000003": "test", "ISIC_0000013": "test",
    }  # fmt: skip


def isic_2017(root: Path, put) -> None:
    head = "image_id,melanoma,seborrheic_keratosis\n"
    for part, names in (
        ("Training", "ISIC_0000000 ISIC_0000001 ISIC_0000002"),
        ("Validation", "ISIC_0001769 ISIC_0001852"),
        ("Test_v2", "ISIC_0012086"),
    ):
        marks = ("0.0,0.0", "0.0,1.0", "1.0,0.0")
        rows = [f"{name},{marks[i % 3]}\n" for i, name in enumerate(names.split())]
        table(root / f"ISIC-2017_{part}_Part3_GroundTruth.csv", head + "".join(rows))
        files = " ".join(f"{name}.jpg {name}_superpixels.png" for name in names.split())
        put(root, **{f"ISIC-2017_{part}_Data": files})
        put(root, **{f"ISIC-2017_{part}_Part1_GroundTruth": "ISIC_0000000_segmentation.png"})
        table(
            root / f"ISIC-2017_{part}_Data" / f"ISIC-2017_{part}_Data_metadata.csv",
            "image_id,age_approximate,sex\n" + f"{names.split()[0]},55,female\n"
            + (f"{names.split()[1]},unknown,unknown\n" if " " in names else ""),
        )  # fmt: skip


def test_isic_2017(tmp_path, put):
    isic_2017(tmp_path, put)
    assert found(tmp_path) == {
        "ISIC_0000000": "nv", "ISIC_0000001": "sk", "ISIC_0000002": "mel",
        "ISIC_0001769": "nv", "ISIC_0001852": "sk", "ISIC_0012086": "nv",
    }  # fmt: skip
    assert found(tmp_path, "given") == {
        "ISIC_0000000": "train", "ISIC_0000001": "train", "ISIC_0000002": "train",
        "ISIC_0001769": "validation", "ISIC_0001852": "validation", "ISIC_0012086": "test",
    }  # fmt: skip
    ages = found(tmp_path, "age")
    assert (ages["ISIC_0000000"], ages["ISIC_0000001"]) == ("55", None)
    assert all(path.suffix == ".jpg" for path in datasets.load(tmp_path).table["path"])


def test_isic_2017s_training_part_alone_is_no_split(tmp_path, put):
    isic_2017(tmp_path, put)
    for file in (*tmp_path.glob("*Validation_Part3*"), *tmp_path.glob("*Test_v2_Part3*")):
        file.unlink()
    assert set(found(tmp_path, "given").values()) == {None}


def test_isic_2018_and_2019_beside_segmentation_images_of_the_same_names(tmp_path, put):
    head = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
    for part, name in (("Training", "ISIC_0024306"), ("Validation", "ISIC_0034321")):
        base = f"ISIC2018_Task3_{part}"
        table(
            tmp_path / f"{base}_GroundTruth" / f"{base}_GroundTruth.csv",
            f"{head}{name},0.0,1.0,0.0,0.0,0.0,0.0,0.0\n",
        )
        put(tmp_path, **{f"{base}_Input": f"{name}.jpg"})
    put(tmp_path, **{"ISIC2018_Task1-2_Training_Input": "ISIC_0024306.jpg"})
    table(
        tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv",
        "image,lesion_id,diagnosis confirm type\nISIC_0024306,HAM_0000550,follow_up\n",
    )
    rows = datasets.load(tmp_path).table
    assert [path.parent.name for path in rows["path"]] == [
        "ISIC2018_Task3_Training_Input", "ISIC2018_Task3_Validation_Input",
    ]  # fmt: skip
    assert rows["given"].tolist() == ["train", "validation"]
    assert rows["lesion"].tolist()[0] == "HAM_0000550"
    assert rows["dx_type"].tolist()[0] == "follow_up"


HEAD = "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis"
V1 = f"""{HEAD},benign_malignant,target
ISIC_01,IP_1,male,45.0,head/neck,unknown,benign,0
ISIC_02,IP_1,female,50.0,torso,melanoma,malignant,1
ISIC_03,IP_2,female,50.0,torso,nevus,benign,0
"""
V2 = "\n".join(
    ",".join((cells[0], cells[1], "lesion_id" if not row else f"IL_{row}", *cells[2:]))
    for row, cells in enumerate(line.split(",") for line in V1.splitlines())
)
TWINS = "image_name_1,image_name_2\nISIC_01,ISIC_03\n"


def test_isic_2020_as_published(tmp_path, put):
    table(tmp_path / "ISIC_2020_Training_GroundTruth.csv", V1)
    table(tmp_path / "ISIC_2020_Training_GroundTruth_v2.csv", V2)
    table(tmp_path / "ISIC_2020_Training_Duplicates.csv", TWINS)
    table(
        tmp_path / "ISIC_2020_Test_Metadata.csv",
        "image,patient,age_approx,sex,anatom_site_general\nISIC_05,IP_9,60,male,torso\n",
    )
    put(tmp_path, train="ISIC_01.jpg ISIC_02.jpg ISIC_03.jpg", ISIC_2020_Test_Input="ISIC_05.jpg")
    read = datasets.load(tmp_path)
    assert (read.name, read.labels) == ("ISIC challenge 2020", ("benign", "malignant"))
    assert found(tmp_path) == {"ISIC_01": "benign", "ISIC_02": "malignant"}
    assert read.skipped == {"duplicate of another image": 1}
    assert found(tmp_path, "lesion") == {"ISIC_01": "IL_1", "ISIC_02": "IL_2"}
    assert found(tmp_path, "patient") == {"ISIC_01": "IP_1", "ISIC_02": "IP_1"}
    assert found(tmp_path, "given") == {"ISIC_01": None, "ISIC_02": None}


def test_isic_2020_as_kaggle_gives_it(tmp_path, put):
    table(tmp_path / "train.csv", V1)
    table(tmp_path / "test.csv", "image_name,patient_id,sex,age_approx\nISIC_05,IP_9,male,60\n")
    table(tmp_path / "sample_submission.csv", "image_name,target\nISIC_05,0\n")
    put(
        tmp_path,
        **{"jpeg/train": "ISIC_01.jpg ISIC_02.jpg ISIC_03.jpg", "jpeg/test": "ISIC_05.jpg"},
    )
    for name in ("ISIC_01", "ISIC_02", "ISIC_03"):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / "train" / f"{name}.dcm").write_bytes(b"\0" * 128 + b"DICM")
    assert found(tmp_path) == {"ISIC_01": "benign", "ISIC_02": "malignant", "ISIC_03": "benign"}
    assert found(tmp_path, "sex") == {"ISIC_01": "male", "ISIC_02": "female", "ISIC_03": "female"}


def test_tables_that_contradict_each_other_are_refused(tmp_path, put):
    table(tmp_path / "ISIC_2020_Training_GroundTruth.csv", V1)
    table(tmp_path / "ISIC_2020_Training_GroundTruth_v2.csv", V2.replace("benign,0", "malignant,1"))
    put(tmp_path, train="ISIC_01.jpg ISIC_02.jpg ISIC_03.jpg")
    with pytest.raises(DatasetError, match=r"says (benign|malignant) of ISIC_0[13].*remove one"):
        datasets.load(tmp_path)


def test_two_challenges_in_one_folder_are_refused(tmp_path, put):
    isic_2016(tmp_path, put)
    isic_2017(tmp_path, put)
    with pytest.raises(DatasetError, match=r"several challenges \(2016: .*; 2017: .*share images"):
        datasets.load(tmp_path)


ARCHIVE = "isic_id,image_type,benign_malignant,diagnosis_1,patient_id\n"


@pytest.mark.parametrize("name", ["metadata.csv", "lesions.csv"])
def test_only_dermoscopic_images_of_the_archive_are_taken(tmp_path, put, name):
    table(
        tmp_path / name,
        ARCHIVE + "ISIC_1,dermoscopic,benign,Benign,P1\nISIC_2,clinical: close-up,benign,,P1\n"
        "ISIC_3,TBP tile: close-up,benign,,P2\nISIC_4,TBP tile: close-up,benign,,P2\n"
        "ISIC_5,,benign,,P3\nISIC_6,dermoscopic,,Malignant,P3\n",
    )
    put(tmp_path, images=" ".join(f"ISIC_{n}.jpg" for n in range(1, 7)))
    read = datasets.load(tmp_path)
    assert (read.modality, len(read.limits)) == ("dermoscopy", 1)
    assert found(tmp_path) == {"ISIC_1": "benign", "ISIC_6": "malignant"}
    assert read.skipped == {
        "image_type is missing": 1, "image_type is clinical: close-up": 1,
        "image_type is TBP tile: close-up": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "modality"),
    [
        (("TBP tile: close-up", "TBP tile: overview"), "TBP tile"),
        (("clinical: close-up", "clinical: overview"), "clinical"),
        (("RCM: tile", "RCM: mosaic"), "RCM"),
    ],
)
def test_the_modality_is_the_datas(tmp_path, put, kinds, modality):
    rows = "".join(f"ISIC_{n},{kind},benign,,P{n}\n" for n, kind in enumerate(kinds))
    table(tmp_path / "metadata.csv", ARCHIVE + rows)
    put(tmp_path, images="ISIC_0.jpg ISIC_1.jpg")
    read = datasets.load(tmp_path)
    assert (read.modality, read.limits, len(read.table)) == (modality, (), 2)


def test_several_kinds_none_dermoscopic_are_refused(tmp_path, put):
    table(tmp_path / "metadata.csv", ARCHIVE + "ISIC_1,clinical: close-up,benign,,\n"
          "ISIC_2,TBP tile: close-up,benign,,\n")  # fmt: skip
    put(tmp_path, images="ISIC_1.jpg ISIC_2.jpg")
    with pytest.raises(DatasetError, match=r"several kinds .*clinical: 1, TBP tile: 1"):
        datasets.load(tmp_path)


def test_a_table_that_does_not_tell_gives_no_modality(tmp_path, put):
    table(tmp_path / "metadata.csv", "isic_id,benign_malignant\nISIC_1,benign\n")
    put(tmp_path, images="ISIC_1.jpg")
    read = datasets.load(tmp_path)
    assert (read.modality, read.limits) == ("", ())


def test_both_columns_of_the_archive_give_labels(tmp_path, put):
    table(
        tmp_path / "metadata.csv",
        "isic_id,benign_malignant,diagnosis_1,diagnosis_2\nISIC_1,benign,,\nISIC_2,,Malignant,x\n"
        "ISIC_3,malignant,Malignant,\nISIC_4,benign,Malignant,\nISIC_5,,Indeterminate,\n"
        "ISIC_6,,,\nISIC_7,indeterminate,Benign,\n",
    )
    put(tmp_path, images=" ".join(f"ISIC_{n}.jpg" for n in range(1, 8)))
    assert found(tmp_path) == {"ISIC_1": "benign", "ISIC_2": "malignant", "ISIC_3": "malignant"}
    assert datasets.load(tmp_path).skipped == {
        "benign_malignant and diagnosis_1 are missing": 1,
        "benign_malignant and diagnosis_1 disagree": 1,
        "benign_malignant and diagnosis_1 is neither benign nor malignant": 2,
    }


def test_several_tables_of_the_archive_are_refused(tmp_path, put):
    for name in ("one.csv", "two.csv"):
        table(tmp_path / name, "isic_id,diagnosis_1\nISIC_1,Benign\n")
    put(tmp_path, images="ISIC_1.jpg")
    with pytest.raises(DatasetError, match=r"several tables with isic_id .*one\.csv.*two\.csv"):
        datasets.load(tmp_path)


@pytest.mark.parametrize(
    "folders",
    [
        ("HAM10000_images_part_1", "HAM10000_images_part_2"),
        ("ISIC-2017_Training_Data", "ISIC-2017_Validation_Data", "ISIC-2017_Test_v2_Data"),
        ("ISIC_2019_Training_Input", "ISIC_2019_Test_Input"),
        ("images", "masks"), ("Images1", "Images2"), ("part-1", "part-2"), ("INPUT", "TARGET"),
        ("data_01", "data_02"), ("trainA", "trainB"), ("TrainImages", "TestImages"),
        ("dermoscopic_images", "clinical_images"), ("melanoma_train", "melanoma_test"),
        ("mole", "images"), ("Photos", "Thumbs"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("layout", [None, "folders"])
def test_folders_that_are_no_classes_are_refused(tmp_path, put, folders, layout):
    put(tmp_path, **{folder: f"{folder}_1.jpg {folder}_2.jpg" for folder in folders})
    with pytest.raises(
        DatasetError, match=r"is no name of a class\. Expected CLASS/image"
    ) as error:
        datasets.load(tmp_path, layout=layout)
    assert folders[0] in str(error.value)


@pytest.mark.parametrize(
    "folders",
    [
        ("benign", "malignant"), ("0", "1"), ("class_1", "class_2"), ("nv", "mel"),
        ("melanoma_images", "nevus images"), ("Eczema Photos", "Psoriasis images"),
        ("Train/mole", "Train/wart"), ("test/benign_data", "test/malignant_data"),
    ],
)  # fmt: skip
def test_folders_that_are_classes_are_read(tmp_path, put, folders):
    put(tmp_path, **dict.fromkeys(folders, "1.jpg 2.jpg"))
    read = datasets.load(tmp_path)
    assert read.labels == tuple(sorted(Path(folder).name for folder in folders))
    assert len(read.table) == 4


def test_a_table_that_names_the_images_is_not_passed_over(tmp_path, put):
    put(tmp_path, clinic="PAT_1.png", hospital="PAT_2.png")
    table(tmp_path / "release_v0" / "meta.csv", "case;derm\n1;one/PAT_1.png\n2;two/PAT_2.png\n")
    with pytest.raises(DatasetError, match=r"names the images \(such as PAT_1.*--layout folders"):
        datasets.load(tmp_path)
    assert found(tmp_path, layout="folders") == {"PAT_1": "clinic", "PAT_2": "hospital"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "img_id,diagnostic\nPAT_1.png,ACK\nPAT_2,BCC\nPAT_3,BCC\n"),
        ("labels.tsv", "image|dx\nPAT_1|ACK\nPAT_2|BCC\nPAT_3|BCC\n"),
    ],
)
def test_a_table_of_names_and_diagnoses_says_more_than_the_folders(tmp_path, put, name, text):
    put(tmp_path, clinic="PAT_1.png", hospital="PAT_2.png")
    table(tmp_path / name, text)
    assert found(tmp_path) == {"PAT_1": "ACK", "PAT_2": "BCC"}
    assert datasets.load(tmp_path).skipped == {"no image": 1}


def test_a_table_of_something_else_is_passed_over(tmp_path, put):
    put(tmp_path, mole="a.png b.png", wart="c.png d.png")
    table(tmp_path / "history.csv", "epoch,loss\n1,0.5\n2,0.4\n")
    table(tmp_path / "note.csv", "who,what\nAnna,a\nBerta,counted\nClara,again\n")
    assert datasets.load(tmp_path).labels == ("mole", "wart")


def test_what_is_there_is_told_where_nothing_is_known(tmp_path, put):
    put(tmp_path, images="PAT_1.png")
    table(tmp_path / "labels.csv", "img,dx\nPAT_1,ACK\n")
    with pytest.raises(
        DatasetError, match=r"known layout .*found labels\.csv \(img, dx\), images/"
    ):
        datasets.load(tmp_path)


@pytest.mark.parametrize(
    "other",
    ["masks/ISIC_1.png", "thumbnails/ISIC_1.jpg", "resized_224/a/ISIC_1.jpeg", "images/ISIC_1.png"],
)
def test_two_images_of_one_name_are_refused(tmp_path, put, other):
    table(tmp_path / "metadata.csv", "isic_id,diagnosis_1\nISIC_1,Benign\nISIC_2,Malignant\n")
    put(tmp_path, images="ISIC_1.jpg ISIC_2.jpg ISIC_2_mask.png")
    put(tmp_path, **{str(Path(other).parent): Path(other).name})
    with pytest.raises(DatasetError, match="two images are called ISIC_1: ") as error:
        datasets.load(tmp_path)
    assert str(tmp_path / "images" / "ISIC_1.jpg") in str(error.value)
    assert str(tmp_path / other) in str(error.value)


def test_images_that_no_row_names_may_share_a_name(tmp_path, put):
    table(tmp_path / "metadata.csv", "isic_id,diagnosis_1\nISIC_1,Benign\n")
    put(tmp_path, images="ISIC_1.jpg ISIC_9.jpg ISIC_9.png")
    assert found(tmp_path) == {"ISIC_1": "benign"}


def test_a_name_with_its_suffix_says_which_is_meant(tmp_path, put):
    table(tmp_path / "ISIC_2019_GroundTruth.csv", "image,MEL,NV\nISIC_1.jpg,1,0\nISIC_2,0,1\n")
    put(tmp_path, images="ISIC_1.jpg ISIC_1.png ISIC_2.png")
    rows = datasets.load(tmp_path).table
    assert [path.name for path in rows["path"]] == ["ISIC_1.jpg", "ISIC_2.png"]


def test_copies_are_one_image(tmp_path, put):
    table(tmp_path / "metadata.csv", "isic_id,diagnosis_1\nISIC_1,Benign\n")
    put(tmp_path, images="ISIC_1.jpg")
    shutil.copytree(tmp_path / "images", tmp_path / "again")
    assert found(tmp_path) == {"ISIC_1": "benign"}


def test_masks_and_copies_in_class_folders(tmp_path, put):
    put(tmp_path, mole="a.jpg a_segmentation.png a_superpixels.png b.jpg", wart="a.jpg c_mask.png")
    shutil.copy(tmp_path / "mole" / "b.jpg", tmp_path / "mole" / "b.jpeg")
    put(tmp_path, **{"wart/more": "d.jpg", "mole/__MACOSX": "b.jpg"})
    read = datasets.load(tmp_path)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in read.table["path"])
    assert names == ["mole/a.jpg", "mole/b.jpeg", "wart/a.jpg", "wart/c_mask.png"]
    assert read.skipped == {
        "mask of another image": 2, "copy of another image": 1,
        "image in a folder below its class's": 1,
    }  # fmt: skip
    put(tmp_path, mole="a.png")
    with pytest.raises(DatasetError, match=r"of the class are called a: .*a\.jpg and .*a\.png"):
        datasets.load(tmp_path)


@pytest.mark.parametrize("above", ["", "train/"])
def test_images_outside_the_class_folders_are_counted(tmp_path, put, above):
    folders = {"mel": "A.jpg", "nv": "B.jpg", "bcc/more": "C.jpg D.jpg", ".": "E.jpg"}
    put(tmp_path, **{above + folder: names for folder, names in folders.items()})
    put(tmp_path, **{".": "F.jpg"})
    (tmp_path / ".hidden.jpg").touch()
    rows = datasets.load(tmp_path)
    assert sorted(path.stem for path in rows.table["path"]) == ["A", "B"]
    assert rows.skipped == {"image in no class's folder": 4}


def test_a_plain_table_may_have_an_index_and_any_delimiter(tmp_path, put):
    put(tmp_path, p="a.png b.png")
    for delimiter in (",", ";", "|"):
        rows = (("", "path", "label"), ("0", "p/a.png", "mole"), ("1", "p/b.png", "wart"))
        table(tmp_path / "mine.csv", "".join(delimiter.join(row) + "\n" for row in rows))
        assert found(tmp_path) == {"a": "mole", "b": "wart"}


@pytest.mark.parametrize(
    ("name", "lines", "error"),
    [
        ("labels.csv", ("path,label", "A.jpg,mel", "B.jpg,nv", "A.jpg,nv"), "mel and nv"),
        ("labels.csv", ("path,label", "A.jpg,mel", "B.jpg,nv", "./A.jpg,nv"), "mel and nv"),
        (
            "HAM10000_metadata.csv",
            ("lesion_id,image_id,dx", "L,A,mel", "M,B,nv", "L,A,nv"),
            "mel and nv",
        ),
        (
            "metadata.csv",
            ("isic_id,benign_malignant", "A,benign", "B,malignant", "A,malignant"),
            "benign and malignant",
        ),
        (
            "ISIC_2019_Training_GroundTruth.csv",
            ("image,MEL,NV", "A,1,0", "B,0,1", "A,0,1"),
            "mel and nv",
        ),
        (
            "PH2_dataset.txt",
            ("|| IMDA || x || 0 ||", "|| IMDB || x || 2 ||", "|| IMDA || x || 2 ||"),
            "common nevus and melanoma",
        ),
    ],
)
def test_one_image_under_two_labels_is_refused(tmp_path, put, name, lines, error):
    put(tmp_path, **{".": "A.jpg B.jpg IMDA.jpg IMDB.jpg"})
    (tmp_path / name).write_text("\n".join(lines))
    with pytest.raises(datasets.DatasetError, match=f"has the labels {error}"):
        datasets.load(tmp_path)
    (tmp_path / name).write_text("\n".join([*lines[:-1], lines[-2]]))
    assert datasets.load(tmp_path).skipped["listed twice"] == 1

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cards import with_card

import lesionedge
from lesionedge import Classifier, ImageError, ModelError, Prediction


def test_a_prediction_is_whole(int8, picture):
    answer = lesionedge.classify(picture, model=int8)
    assert isinstance(answer, Prediction)
    assert len(answer.top) == 7
    shares = [c.probability for c in answer.top]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=0.02)  # an int8 softmax is coarse
    assert (answer.label, answer.name, answer.probability) == (
        answer.top[0].label, answer.top[0].name, answer.top[0].probability,
    )  # fmt: skip
    malignant = sum(c.probability for c in answer.top if c.label in ("mel", "bcc", "akiec"))
    assert answer.malignant_probability == pytest.approx(malignant)
    assert set(answer.timings_ms) == {"decode", "preprocess", "invoke"}
    assert all(value >= 0 for value in answer.timings_ms.values())
    assert answer.model == int8
    assert answer.warnings == ()


def test_top_k(int8, picture):
    classifier = Classifier(int8)
    assert len(classifier.classify(picture, top_k=3).top) == 3
    assert len(classifier.classify(picture, top_k=99).top) == 7
    with pytest.raises(ValueError, match="top_k is 0"):
        classifier.classify(picture, top_k=0)


def test_the_card_gives_labels_names_and_preprocessing(int8):
    classifier = Classifier(int8)
    assert classifier.labels == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert classifier.names[4] == "Melanoma"
    assert classifier.card.licence == "Apache-2.0"
    assert classifier.preprocessing.crop == "centre"


def test_model_input_is_what_the_network_is_fed(int8, picture):
    classifier = Classifier(int8)
    pixels = classifier.model_input(picture)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    direct = classifier.interpreter.run(pixels)
    assert np.array_equal(direct, classifier.probabilities(picture))
    assert np.array_equal(direct, classifier.probabilities(pixels))


@pytest.mark.parametrize(
    "name", ["float32", "float16", "float16-tensors", "int8-tensors", "foreign"]
)
def test_every_format_of_one_network_agrees(models, int8, picture, name):
    pixels = Classifier(int8).model_input(picture)
    other = Classifier(models / f"{name}.tflite").probabilities(pixels)
    assert np.abs(other - Classifier(int8).probabilities(pixels)).max() < 0.03


def test_a_foreign_model_sees_the_whole_picture(models):
    assert Classifier(models / "foreign.tflite").preprocessing.crop == "stretch"


def test_a_model_without_metadata_needs_labels_and_normalisation(models, picture):
    bare = models / "bare.tflite"
    with pytest.raises(ModelError, match="--labels FILE.*--normalize MEAN,STD"):
        Classifier(bare)
    names = [f"thing {n}" for n in range(7)]
    with pytest.raises(ModelError, match="--normalize"):
        Classifier(bare, labels=names)
    given = Classifier(bare, labels=names, normalize=(127.5, 127.5))
    standard = Classifier(models / "foreign.tflite")
    assert np.array_equal(given.probabilities(picture), standard.probabilities(picture))


def test_a_message_names_all_that_is_missing_and_no_more(models):
    names = [f"thing {n}" for n in range(7)]
    for name in ("bare", "bare-float"):
        path = models / f"{name}.tflite"
        with pytest.raises(ModelError, match="--labels.*7 outputs.*--normalize") as both:
            Classifier(path)
        assert "--normalize MEAN,STD" in str(both.value)
        assert ("127,127.5 fits its input" in str(both.value)) == (name == "bare")
        with pytest.raises(ModelError) as one:
            Classifier(path, normalize=(0, 255))
        assert "--normalize" not in str(one.value)
        with pytest.raises(ModelError) as other:
            Classifier(path, labels=names)
        assert "--labels" not in str(other.value)


@pytest.mark.parametrize("normalize", [(0, 0), (float("nan"), 1), (1, float("inf")), (1,)])
def test_impossible_normalisation_is_refused(int8, normalize):
    with pytest.raises(ValueError, match=r"normalize is .* expected \(mean, std\)"):
        Classifier(int8, normalize=normalize)


def test_float_networks_are_fed_the_difference_over_the_deviation(models, picture):
    classifier = Classifier(models / "float32.tflite")
    pixels = classifier.model_input(picture)
    by_hand = (pixels.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    wanted = classifier.interpreter.run(by_hand)
    assert np.array_equal(classifier.probabilities(picture), wanted)


def test_our_own_bytes_go_in_untouched(int8, picture):
    classifier = Classifier(int8)
    wanted = classifier.interpreter.run(classifier.model_input(picture))
    given = Classifier(int8, normalize=(127.5, 127.5))
    assert np.array_equal(classifier.probabilities(picture), wanted)
    assert np.array_equal(given.probabilities(picture), wanted)


def test_scores_that_are_no_probabilities_are_refused(models):
    with pytest.raises(ModelError, match=r"logits\.tflite: its outputs are no probabilities"):
        Classifier(models / "logits.tflite")


def test_a_model_of_no_fixed_size_is_refused(models):
    with pytest.raises(ModelError, match=r"its inputs are \[1, -1, -1, 3\] float32"):
        Classifier(models / "open-size.tflite", labels=["a", "b", "c"], normalize=(0, 255))


def test_the_cards_crop_and_meanings_are_used(int8, picture, tmp_path):
    section = {"width_px": 32, "height_px": 32, "crop": "stretch", "resampling": "box"}
    labels = [{"label": label, "name": label * 2, "malignant": label == "nv"}
              for label in Classifier(int8).labels]  # fmt: skip
    changed = Classifier(with_card(int8, tmp_path / "changed.tflite", input=section, labels=labels))
    assert changed.preprocessing.crop == "stretch"
    assert changed.names[4] == "melmel"
    answer = changed.classify(picture)
    by_label = {c.label: c.probability for c in answer.top}
    assert answer.malignant_probability == pytest.approx(by_label["nv"])


@pytest.mark.parametrize(
    "changes",
    [
        {"input": None}, {"input": []}, {"input": {"width_px": 1e999, "height_px": 32}},
        {"input": {"width_px": 64, "height_px": 32}}, {"labels": None}, {"labels": 3},
        {"labels": ["mel"]}, {"labels": [{"name": "Melanoma"}]}, {"labels": [None]},
    ],
)  # fmt: skip
def test_unusable_cards_are_refused(int8, tmp_path, changes):
    with pytest.raises(ModelError, match="card"):
        Classifier(with_card(int8, tmp_path / "changed.tflite", **changes))


def test_a_replaced_model_file_is_noticed(models, picture, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes((models / "int8.tflite").read_bytes())
    assert len(lesionedge.classify(picture, model=path).top) == 7
    other = tmp_path / "other"
    other.write_bytes((models / "sigmoid.tflite").read_bytes())
    other.replace(path)
    assert len(lesionedge.classify(picture, model=path).top) == 2


def test_answers_do_not_depend_on_what_was_asked_before(int8, draw):
    classifier = Classifier(int8)
    pictures = [np.asarray(draw(50, 40, seed=n)) for n in range(6)]
    alone = [Classifier(int8).probabilities(picture) for picture in pictures]
    for order in (range(6), reversed(range(6)), [3, 3, 0, 5, 3]):
        for number in order:
            assert np.array_equal(classifier.probabilities(pictures[number]), alone[number])


def test_normalisation_is_computed_for_every_type(models, picture):
    names = [f"thing {n}" for n in range(7)]
    answers = [
        Classifier(models / f"{name}.tflite", labels=names, normalize=(120.0, 130.0)).probabilities(
            picture
        )
        for name in ("bare", "bare-float")
    ]
    assert np.abs(answers[0] - answers[1]).max() < 0.05


def test_a_sigmoid_model_gives_both_classes(models, picture):
    answer = Classifier(models / "sigmoid.tflite").classify(picture)
    assert {c.label for c in answer.top} == {"benign", "malignant"}
    assert sum(c.probability for c in answer.top) == pytest.approx(1)
    by_label = {c.label: c.probability for c in answer.top}
    assert answer.malignant_probability == pytest.approx(by_label["malignant"])


def test_wrong_number_of_labels(models, tmp_path):
    with pytest.raises(ModelError, match="3 labels; its output needs 7"):
        Classifier(models / "wrong-labels.tflite")
    file = tmp_path / "labels.txt"
    file.write_text("a\nb\n", encoding="utf-8")
    bare = models / "bare.tflite"
    with pytest.raises(ModelError, match=r"labels\.txt has 2 labels; its output needs 7"):
        Classifier(bare, labels=file, normalize=(127.5, 127.5))
    with pytest.raises(ModelError, match="list given has 1 label; its output needs 7"):
        Classifier(bare, labels=["a"], normalize=(127.5, 127.5))
    with pytest.raises(ModelError, match="none: labels cannot be read"):
        Classifier(bare, labels=tmp_path / "none", normalize=(127.5, 127.5))
    file.write_bytes(b"\xff\xfe\0")
    with pytest.raises(ModelError, match=r"labels\.txt: labels are not UTF-8"):
        Classifier(bare, labels=file, normalize=(127.5, 127.5))
    with pytest.raises(ModelError, match=r"1 label; its output needs 2 \(negative, positive\)"):
        Classifier(models / "sigmoid.tflite", labels=["malignant"])


def test_unknown_model_lists_the_known_ones():
    with pytest.raises(ModelError, match="mobilenetv2, mobilenetv2-float16, cnn"):
        Classifier("resnet")


def test_classify_many_keeps_the_order(int8, draw):
    pictures = [np.asarray(draw(40, 40, seed=n)) for n in range(25)]
    classifier = Classifier(int8)
    answers = list(classifier.classify_many(iter(pictures)))
    wanted = [classifier.classify(picture) for picture in pictures]
    assert [a.top for a in answers] == [w.top for w in wanted]


def test_classify_many_yields_or_raises_errors(int8, picture, tmp_path):
    classifier = Classifier(int8)
    pictures = [picture, tmp_path / "none.jpg", picture]
    kinds = [type(a) for a in classifier.classify_many(pictures, errors="yield")]
    assert kinds == [Prediction, ImageError, Prediction]
    with pytest.raises(ImageError, match=r"none\.jpg"):
        list(classifier.classify_many(pictures))
    with pytest.raises(ValueError, match="errors is 'ignore'"):
        classifier.classify_many(pictures, errors="ignore")


def test_classify_many_reads_only_a_little_ahead_and_stops_clean(int8, picture):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield picture

    answers = Classifier(int8).classify_many(endless())
    for _ in range(3):
        next(answers)
    answers.close()
    assert len(taken) < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("lesionedge-decode")]


def test_one_thread_is_one_thread(int8, draw):
    pictures = [np.asarray(draw(40, 40, seed=n)) for n in range(5)]
    running = []

    def watched():
        for picture in pictures:
            running.append(threading.active_count())
            yield picture

    before = threading.active_count()
    classifier = Classifier(int8, threads=1)
    answers = list(classifier.classify_many(watched()))
    assert [a.top for a in answers] == [classifier.classify(p).top for p in pictures]
    assert set(running) == {before}


def test_one_thread_answers_bad_pictures_in_their_place(int8, picture):
    answers = list(Classifier(int8, threads=1).classify_many([picture, b""], errors="yield"))
    assert answers[0].label
    assert isinstance(answers[1], ImageError)
    with pytest.raises(ImageError, match="empty"):
        list(Classifier(int8, threads=1).classify_many([b""]))


def test_one_classifier_serves_many_threads(int8, draw):
    classifier = Classifier(int8)
    pictures = [np.asarray(draw(40, 40, seed=n)) for n in range(12)]
    wanted = [classifier.classify(p).top for p in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert [a.top for a in pool.map(classifier.classify, pictures * 5)] == wanted * 5


def test_pickles_as_model_and_options(int8, picture):
    classifier = Classifier(int8, threads=1)
    again = pickle.loads(pickle.dumps(classifier))
    assert again.threads == 1
    assert np.array_equal(again.probabilities(picture), classifier.probabilities(picture))


def test_animations_are_answered_by_their_first_frame_with_a_warning(int8, draw, tmp_path):
    frames = [draw(64, 64, seed=n) for n in range(3)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    answer = Classifier(int8).classify(path)
    assert len(answer.warnings) == 1
    assert "first frame" in answer.warnings[0]

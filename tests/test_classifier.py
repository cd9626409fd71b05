from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cards import with_card

import lesionedge
from lesionedge import Classifier, ImageError, ModelError, Prediction


def test_a_prediction_is_complete(int8, photo):
    prediction = lesionedge.classify(photo, model=int8)
    assert isinstance(prediction, Prediction)
    assert len(prediction.top) == 7
    shares = [c.probability for c in prediction.top]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=0.02)  # an int8 softmax is coarse
    assert (prediction.label, prediction.name, prediction.probability) == (
        prediction.top[0].label, prediction.top[0].name, prediction.top[0].probability,
    )  # fmt: skip
    malignant = sum(c.probability for c in prediction.top if c.label in ("mel", "bcc", "akiec"))
    assert prediction.malignant_probability == pytest.approx(malignant)
    assert set(prediction.timings_ms) == {"decode", "preprocess", "invoke"}
    assert all(value >= 0 for value in prediction.timings_ms.values())
    assert prediction.model == int8
    assert prediction.warnings == ()


def test_top_k(int8, photo):
    classifier = Classifier(int8)
    assert len(classifier.classify(photo, top_k=3).top) == 3
    assert len(classifier.classify(photo, top_k=99).top) == 7
    with pytest.raises(ValueError, match="top_k is 0"):
        classifier.classify(photo, top_k=0)


def test_labels_names_and_preprocessing_come_from_the_card(int8):
    classifier = Classifier(int8)
    assert classifier.labels == ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    assert classifier.names[4] == "Melanoma"
    assert classifier.card.licence == "Apache-2.0"
    assert classifier.preprocessing.crop == "centre"


def test_model_input_is_the_networks_input(int8, photo):
    classifier = Classifier(int8)
    pixels = classifier.model_input(photo)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    direct = classifier.interpreter.run(pixels)
    assert np.array_equal(direct, classifier.probabilities(photo))
    assert np.array_equal(direct, classifier.probabilities(pixels))


@pytest.mark.parametrize(
    "name", ["float32", "float16", "float16-tensors", "int8-tensors", "foreign"]
)
def test_every_format_of_one_network_agrees(models, int8, photo, name):
    pixels = Classifier(int8).model_input(photo)
    other = Classifier(models / f"{name}.tflite").probabilities(pixels)
    assert np.abs(other - Classifier(int8).probabilities(pixels)).max() < 0.03


def test_a_foreign_model_sees_the_whole_image(models):
    assert Classifier(models / "foreign.tflite").preprocessing.crop == "stretch"


def test_a_model_without_metadata_needs_labels_and_normalisation(models, photo):
    bare = models / "bare.tflite"
    with pytest.raises(ModelError, match="--labels FILE.*--normalize MEAN,STD"):
        Classifier(bare)
    names = [f"thing {n}" for n in range(7)]
    with pytest.raises(ModelError, match="--normalize"):
        Classifier(bare, labels=names)
    explicit = Classifier(bare, labels=names, normalize=(127.5, 127.5))
    standard = Classifier(models / "foreign.tflite")
    assert np.array_equal(explicit.probabilities(photo), standard.probabilities(photo))


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


def test_labels_without_an_order_are_refused(int8):
    """Keras' class_indices would be taken in the order of its keys."""
    for labels in ({"mel": 1, "nv": 0}, {"mel", "nv"}):
        with pytest.raises(ValueError, match="labels is a (dict|set); expected a list"):
            Classifier(int8, labels=labels)


def test_float_networks_get_the_difference_over_the_deviation(models, photo):
    classifier = Classifier(models / "float32.tflite")
    pixels = classifier.model_input(photo)
    by_hand = (pixels.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    wanted = classifier.interpreter.run(by_hand)
    assert np.array_equal(classifier.probabilities(photo), wanted)


def test_pixels_go_unchanged_into_our_own_models(int8, photo):
    classifier = Classifier(int8)
    wanted = classifier.interpreter.run(classifier.model_input(photo))
    explicit = Classifier(int8, normalize=(127.5, 127.5))
    assert np.array_equal(classifier.probabilities(photo), wanted)
    assert np.array_equal(explicit.probabilities(photo), wanted)


def test_scores_that_are_not_probabilities_are_refused(models):
    with pytest.raises(ModelError, match=r"logits\.tflite: its outputs are not probabilities"):
        Classifier(models / "logits.tflite")


def test_a_model_without_a_fixed_size_is_refused(models):
    with pytest.raises(ModelError, match=r"its inputs are \[1, -1, -1, 3\] float32"):
        Classifier(models / "open-size.tflite", labels=["a", "b", "c"], normalize=(0, 255))


def test_the_cards_crop_and_meanings_are_used(int8, photo, tmp_path):
    section = {"width_px": 32, "height_px": 32, "crop": "stretch", "resampling": "box"}
    labels = [{"label": label, "name": label * 2, "malignant": label == "nv"}
              for label in Classifier(int8).labels]  # fmt: skip
    changed = Classifier(with_card(int8, tmp_path / "changed.tflite", input=section, labels=labels))
    assert changed.preprocessing.crop == "stretch"
    assert changed.names[4] == "melmel"
    prediction = changed.classify(photo)
    by_label = {c.label: c.probability for c in prediction.top}
    assert prediction.malignant_probability == pytest.approx(by_label["nv"])


@pytest.mark.parametrize(
    "changes",
    [
        {"input": None}, {"input": []}, {"input": {"width_px": 1e999, "height_px": 32}},
        {"input": {"width_px": 64, "height_px": 32}}, {"labels": None}, {"labels": 3},
        {"labels": ["mel"]}, {"labels": [{"name": "Melanoma"}]}, {"labels": [None]},
        {"input": {"width_px": 32, "height_px": 32, "crop": "oval"}},
    ],
)  # fmt: skip
def test_unusable_cards_are_refused(int8, tmp_path, changes):
    with pytest.raises(ModelError, match=r"changed\.tflite: .*card"):
        Classifier(with_card(int8, tmp_path / "changed.tflite", **changes))


def test_a_replaced_model_file_is_noticed(models, photo, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes((models / "int8.tflite").read_bytes())
    assert len(lesionedge.classify(photo, model=path).top) == 7
    other = tmp_path / "other"
    other.write_bytes((models / "sigmoid.tflite").read_bytes())
    other.replace(path)
    assert len(lesionedge.classify(photo, model=path).top) == 2


def test_predictions_do_not_depend_on_earlier_images(int8, draw):
    classifier = Classifier(int8)
    images = [np.asarray(draw(50, 40, seed=n)) for n in range(6)]
    alone = [Classifier(int8).probabilities(image) for image in images]
    for order in (range(6), reversed(range(6)), [3, 3, 0, 5, 3]):
        for number in order:
            assert np.array_equal(classifier.probabilities(images[number]), alone[number])


def test_normalisation_is_computed_for_every_type(models, photo):
    names = [f"thing {n}" for n in range(7)]
    predictions = [
        Classifier(models / f"{name}.tflite", labels=names, normalize=(120.0, 130.0)).probabilities(
            photo
        )
        for name in ("bare", "bare-float")
    ]
    assert np.abs(predictions[0] - predictions[1]).max() < 0.05


def test_a_sigmoid_model_returns_both_classes(models, photo):
    prediction = Classifier(models / "sigmoid.tflite").classify(photo)
    assert {c.label for c in prediction.top} == {"benign", "malignant"}
    assert sum(c.probability for c in prediction.top) == pytest.approx(1)
    by_label = {c.label: c.probability for c in prediction.top}
    assert prediction.malignant_probability == pytest.approx(by_label["malignant"])


def test_wrong_number_of_labels(models, tmp_path):
    with pytest.raises(ModelError, match=r"3 labels; its output needs 7; give --labels"):
        Classifier(models / "wrong-labels.tflite")
    file = tmp_path / "labels.txt"
    file.write_text("a\nb\n", encoding="utf-8")
    bare = models / "bare.tflite"
    with pytest.raises(ModelError, match=r"labels\.txt has 2 labels; its output needs 7"):
        Classifier(bare, labels=file, normalize=(127.5, 127.5))
    with pytest.raises(ModelError, match="list of labels has 1 label; its output needs 7"):
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
    images = [np.asarray(draw(40, 40, seed=n)) for n in range(25)]
    classifier = Classifier(int8)
    predictions = list(classifier.classify_many(iter(images)))
    wanted = [classifier.classify(image) for image in images]
    assert [a.top for a in predictions] == [w.top for w in wanted]


def test_classify_many_yields_or_raises_errors(int8, photo, tmp_path):
    classifier = Classifier(int8)
    images = [photo, tmp_path / "none.jpg", photo]
    kinds = [type(a) for a in classifier.classify_many(images, errors="yield")]
    assert kinds == [Prediction, ImageError, Prediction]
    with pytest.raises(ImageError, match=r"none\.jpg"):
        list(classifier.classify_many(images))
    with pytest.raises(ValueError, match="errors is 'ignore'"):
        classifier.classify_many(images, errors="ignore")


def test_classify_many_reads_only_a_little_ahead_and_stops_clean(int8, photo):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield photo

    predictions = Classifier(int8).classify_many(endless())
    for _ in range(3):
        next(predictions)
    predictions.close()
    assert len(taken) < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("lesionedge-decode")]


def test_with_one_thread_no_others_are_started(int8, draw):
    images = [np.asarray(draw(40, 40, seed=n)) for n in range(5)]
    running = []

    def watched():
        for image in images:
            running.append(threading.active_count())
            yield image

    before = threading.active_count()
    classifier = Classifier(int8, threads=1)
    predictions = list(classifier.classify_many(watched()))
    assert [a.top for a in predictions] == [classifier.classify(p).top for p in images]
    assert set(running) == {before}


def test_one_thread_reports_bad_images_in_their_place(int8, photo):
    predictions = list(Classifier(int8, threads=1).classify_many([photo, b""], errors="yield"))
    assert predictions[0].label
    assert isinstance(predictions[1], ImageError)
    with pytest.raises(ImageError, match="empty"):
        list(Classifier(int8, threads=1).classify_many([b""]))


def test_one_classifier_serves_many_threads(int8, draw):
    classifier = Classifier(int8)
    images = [np.asarray(draw(40, 40, seed=n)) for n in range(12)]
    wanted = [classifier.classify(p).top for p in images]
    with ThreadPoolExecutor(4) as pool:
        assert [a.top for a in pool.map(classifier.classify, images * 5)] == wanted * 5


def test_pickles_as_model_and_options(int8, photo):
    classifier = Classifier(int8, threads=1)
    again = pickle.loads(pickle.dumps(classifier))
    assert again.threads == 1
    assert np.array_equal(again.probabilities(photo), classifier.probabilities(photo))


def test_animations_are_classified_by_their_first_frame_with_a_warning(int8, draw, tmp_path):
    frames = [draw(64, 64, seed=n) for n in range(3)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    prediction = Classifier(int8).classify(path)
    assert len(prediction.warnings) == 1
    assert "first frame" in prediction.warnings[0]

"""MediaPipe Tasks' ImageClassifier, as its guide shows it."""

import mediapipe as mp
from mediapipe.tasks import python
from mediapipe.tasks.python import vision


def load(model, threads):
    """Load the model; return a function from path to scores. Threads cannot be chosen."""
    options = vision.ImageClassifierOptions(base_options=python.BaseOptions(model))
    classifier = vision.ImageClassifier.create_from_options(options)

    def classify(path):
        result = classifier.classify(mp.Image.create_from_file(path))
        found = {c.index: c.score for c in result.classifications[0].categories}
        return [found[place] for place in range(len(found))]

    return classify

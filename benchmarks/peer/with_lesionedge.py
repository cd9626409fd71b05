"""This package."""

import lesionedge


def load(model, threads):
    """Load once, answer many."""
    classifier = lesionedge.Classifier(model, threads=threads, check=False)
    labels = classifier.labels

    def classify(path):
        by_label = {c.label: c.probability for c in classifier.classify(path).top}
        return [by_label[label] for label in labels]

    return classify

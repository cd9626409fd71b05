"""Sort a folder's pictures by how likely they are malignant, the likeliest first.

    python examples/classify_folder.py FOLDER

A starting point for scripts of your own: pictures are decoded ahead in threads, and one that
cannot be read is reported and left out. Research use only: not a diagnosis.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lesionedge


def main(folder: str) -> int:
    """Print a line a picture."""
    paths = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in (".jpg", ".png"))
    classifier = lesionedge.Classifier()
    answers, failed = [], 0
    for path, answer in zip(paths, classifier.classify_many(paths, errors="yield")):
        if isinstance(answer, lesionedge.Prediction):
            answers.append((answer.malignant_probability, path.name, answer))
        else:
            failed += 1
            print(answer, file=sys.stderr)
    for risk, name, answer in sorted(answers, key=lambda row: -row[0]):
        print(f"{risk:6.1%}  {answer.label:<6} {answer.probability:6.1%}  {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    sys.exit(main(sys.argv[1]))

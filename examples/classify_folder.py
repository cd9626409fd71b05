"""Sort the images of a folder by how likely they are malignant, the most likely first.

    python examples/classify_folder.py FOLDER

A starting point for scripts of your own. Images are decoded ahead in threads; an image that cannot
be read is reported and left out. For research use only: not a diagnosis.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lesionedge
from lesionedge.wording import CANNOT_TELL, RESEARCH_USE, is_refused, percent


def main(folder: str) -> int:
    """Print a line for each image."""
    paths = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in (".jpg", ".png"))
    classifier = lesionedge.Classifier()
    found, refused, failed = [], [], 0
    for path, result in zip(paths, classifier.classify_many(paths, errors="yield")):
        if not isinstance(result, lesionedge.Prediction):
            failed += 1
            print(result, file=sys.stderr)
        elif is_refused(result):
            refused.append(path.name)
        else:
            found.append((result.malignant_probability or 0.0, path.name, result))
    for risk, name, result in sorted(found, key=lambda row: -row[0]):
        print(f"{percent(risk):>7}  {result.label:<6} {percent(result.probability):>7}  {name}")
    for name in refused:
        print(f"{CANNOT_TELL}: {name}")
    print(RESEARCH_USE)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    sys.exit(main(sys.argv[1]))

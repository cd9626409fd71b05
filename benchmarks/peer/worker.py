"""Runs one peer in its own environment: answers images named on standard input and times them.

    python worker.py PEER MODEL THREADS            # a line in: an image, or many apart by tabs
    python worker.py PEER MODEL THREADS IMAGE    # one answer and out, for cold starts

PEER is a module of this folder with ``load(model, threads)``, which gives a function from a path
to scores. A line out: milliseconds for all the images of the line, and the last one's best class.
"""

import importlib
import os
import sys
import time


def main() -> None:
    """Serve standard input, or answer once."""
    name, model, threads, *images = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    classify = importlib.import_module(name).load(model, int(threads))
    if images:
        print(best(classify(images[0])), file=out, flush=True)
        return
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        paths = line.rstrip("\n").split("\t")
        begin = time.perf_counter()
        for path in paths:
            scores = classify(path)
        print((time.perf_counter() - begin) * 1000, best(scores), file=out, flush=True)


def best(scores) -> int:
    """Give the place of the highest score."""
    return max(range(len(scores)), key=lambda place: scores[place])


if __name__ == "__main__":
    main()

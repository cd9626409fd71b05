"""Runs one peer in its own environment: classifies images named on standard input and times them.

    python worker.py PEER MODEL THREADS          # each input line: one or more paths, tab-separated
    python worker.py PEER MODEL THREADS IMAGE    # one prediction, then exit; for cold starts

PEER is a module of this folder with ``load(model, threads)``, which returns a function from a path
to scores. Each output line holds the milliseconds for all images of the input line, and the best
class of the last one.
"""

import importlib
import os
import sys
import time


def main() -> None:
    """Classify the images on standard input, or one image."""
    name, model, threads, *images = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep the libraries' own messages out of the results
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
    """Return the index of the highest score."""
    return max(range(len(scores)), key=lambda index: scores[index])


if __name__ == "__main__":
    main()

"""Trains the gate on its copies, by the trainer of all models; a killed run resumes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import tf_keras as keras

import lesionedge
from lesionedge.atomic import write_text
from lesionedge.card import (
    Calibration,
    Card,
    Gate,
    Input,
    Label,
    Output,
    Quantization,
    TrainingData,
)
from train.calibration import softmax
from train.fit import checkpoints, network, workers
from train.fit.batches import Lessons
from train.fit.fit import Given, check
from train.fit.stages import Training, train_stage
from train.fit.validation import ValidationImages
from train.gate import prepared, sources
from train.gate.prepared import Images
from train.models.inference import logits
from train.models.pixels import PIXEL_MEAN, PIXEL_STD
from train.recipe import Gate as Settings
from train.recipe import Recipe
from train.run import Run
from train.settings import RecipeError

HELD_OUT = ("validation", "calibration", "test")
NAMES = {
    "dermoscopic": "Dermoscopic image of a lesion",
    "clinical": "Photograph of skin without a dermatoscope",
    "other": "Something else",
}
ATTRIBUTION = (
    "Trained on HAM10000 (Tschandl et al., Sci. Data 5, 180161, 2018, "
    "doi:10.1038/sdata.2018.161), CC BY-NC 4.0; ISIC 2017 (Codella et al., ISBI 2018), CC BY-NC; "
    "PAD-UFES-20 (Pacheco et al., Data in Brief 32, 2020, doi:10.1016/j.dib.2020.106221), "
    "CC BY 4.0; photographs of ImageNet (Russakovsky et al. 2015), for research; starting from "
    "MobileNetV2 weights of ImageNet (Google, Apache-2.0)"
)


def fit(recipe: Recipe, recipe_text: str, run: Run, given: Given) -> None:
    """Train, or go on where a killed training of the same folder stopped.

    Args:
        recipe: What to train; its ``[gate]`` says on what.
        recipe_text: Its TOML, kept in the run folder.
        run: The run folder; gets ``split.csv``, ``float.h5``, ``card.json`` and ``metrics.json``.
        given: The folder of the sources, the weights to begin with and the seed.

    Raises:
        RunError: The folder is in use or holds a run of another recipe.
        SourceError: A source is missing.
        DatasetError: A source's table cannot be read.
        RecipeError: The recipe does not fit, or something is given that the gate cannot use.
    """
    settings = recipe.gate
    if settings is None:
        raise RecipeError(f"{recipe.name}: has no [gate]")
    if workers.is_member():
        raise RecipeError(f"{recipe.name}: the gate is trained by one worker alone")
    check(recipe, given)
    _check(recipe, given)
    with run.lock():
        run.keep_recipe(recipe_text)
        checkpoints.keep_seed(run, given.seed)
        checkpoints.refuse_other_weights(run, given.weights)
        if run.float_weights.exists() and run.card.exists():
            run.say("is trained already; another --out begins another training")
            return
        network.check(recipe)
        keras.utils.set_random_seed(given.seed)
        table = sources.table(given.source.folder)
        write_text(run.split, table.to_csv(index=False))
        run.say(f"images:\n{table.groupby(['source', 'split']).size().unstack().to_string()}")
        copies = prepared.Copies(given.cache_folder, given.seed, run.say)
        lessons = copies.training(table, settings, recipe.cache_side_px)
        held = {split: copies.held_out(table, split, recipe.input.width_px) for split in HELD_OUT}
        model = _trained(recipe, run, lessons, held["validation"], given)
        run.save_model("float", model)
        _finish(recipe, settings, model, held, table, run, given.seed)


def _check(recipe: Recipe, given: Given) -> None:
    """Refuse what the gate, whose ``[gate]`` says what its images are, has no use for."""
    unused = {
        "--images": recipe.shortened.images > 0,
        "--layout": given.source.layout is not None,
        "--drop-overlap and --allow-overlap": given.source.overlap != "refuse",
    }
    found = ", ".join(name for name, is_given in unused.items() if is_given)
    if found:
        raise RecipeError(f"{recipe.name}: {found} cannot be used with a [gate]")
    if any(stage.quantize for stage in recipe.stages):
        raise RecipeError(
            f"{recipe.name}: has a stage with quantize = true; expected none: python -m convert "
            "export rounds a gate"
        )


def _trained(recipe: Recipe, run: Run, lessons: Images, held: Images, given: Given) -> keras.Model:
    own = Lessons(lessons.pixels, lessons.classes, np.arange(len(lessons.classes)))
    measured = ValidationImages(np.asarray(held.pixels), held.classes, len(sources.LABELS))
    training = Training(recipe, run, own, own, measured, workers.alone(), given.seed)
    state = checkpoints.resume(run)
    for number in range(state.stage, len(recipe.stages)):
        model = network.begin(training, number, state, given.weights)
        state = train_stage(training, recipe.stages[number], number, model, state)
    return network.finished(training)


def _finish(
    recipe: Recipe, settings: Settings, model: keras.Model, held: Mapping[str, Images],
    table: pd.DataFrame, run: Run, seed: int,
) -> None:  # fmt: skip
    """Choose the threshold, measure and write the card."""
    chances = {split: softmax(logits(model, own.pixels))[:, 0] for split, own in held.items()}
    genuine = np.concatenate([
        chances[split][held[split].classes == 0] for split in ("validation", "calibration")
    ])  # fmt: skip
    threshold = float(np.quantile(genuine, settings.refused))
    metrics = {split: measured(chances[split], held[split], threshold) for split in chances}
    write_text(run.metrics, json.dumps({"threshold": threshold, **metrics}, indent=1) + "\n")
    run.say(json.dumps(metrics["test"], indent=1))
    counts = table.groupby(["source", "split"]).size()
    data = TrainingData(
        "HAM10000, ISIC 2017, PAD-UFES-20, ImageNet photographs, generated images",
        "by lesion (HAM10000), by patient (PAD-UFES-20)", seed,
        {f"{a} {b}": int(n) for (a, b), n in counts.items()},
    )  # fmt: skip
    gate = Gate(threshold, settings.refused)  # until calibrated
    run.write_card(_card(recipe, gate, data, {"test": metrics["test"]}))
    run.say(f"done: {run.folder}")


def measured(chances: np.ndarray, held: Images, threshold: float) -> dict[str, Any]:
    """Return the share of each source that is refused at a threshold, and at 5 % of the genuine."""
    five = float(np.quantile(chances[held.classes == 0], 0.05))
    result: dict[str, Any] = {"threshold_at_5_percent": five}
    for name in sorted(set(held.sources)):
        own = chances[held.sources == name]
        result[str(name)] = {
            "images": len(own),
            "refused": float((own < threshold).mean()),
            "refused_at_5_percent": float((own < five).mean()),
        }
    return result


def _card(recipe: Recipe, gate: Gate, data: TrainingData, metrics: dict[str, Any]) -> Card:
    side = recipe.input.width_px
    return Card(
        name=recipe.name, version=lesionedge.__version__, description=recipe.description,
        architecture=recipe.model.architecture,
        labels=tuple(Label(k, NAMES[k], malignant=False) for k in sources.LABELS),
        input=Input(side, side, mean=(PIXEL_MEAN,) * 3, std=(PIXEL_STD,) * 3),
        output=Output("softmax"), quantization=Quantization("none"),
        calibration=Calibration("none", {"float": 1.0}), gate=gate, data=data, metrics=metrics,
        licence="CC BY-NC 4.0", attribution=ATTRIBUTION,
        intended_use="Tells whether an image is one that a dermoscopic classifier may speak about",
        limits=(
            "Trained on dermoscopic images of mostly light skin; unusual ones may be refused",
            "Knows few hundred photographs; one that looks like dermoscopy may pass",
        ),
    )  # fmt: skip

"""Keras' ``load_img`` and ``model.predict``, as most published classifiers use them.

MODEL is ``MobileNetV2`` or ``EfficientNetB3``, with random weights, which take the same time.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

SIDE_PX = 224


def load(model, threads):
    """Load the model; return a function from path to scores. TensorFlow chooses the threads."""
    build = getattr(tf.keras.applications, model)
    network = build(weights=None, classes=7, input_shape=(SIDE_PX, SIDE_PX, 3))

    def classify(path):
        image = tf.keras.utils.load_img(path, target_size=(SIDE_PX, SIDE_PX))
        pixels = np.expand_dims(tf.keras.utils.img_to_array(image) / 255.0, axis=0)
        return network.predict(pixels, verbose=0)[0]

    return classify

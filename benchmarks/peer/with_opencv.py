"""OpenCV and LiteRT as in most tutorials: full-scale decoding, one thread."""

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

SIDE_PX = 224


def load(model, threads):
    """Load the model; return a function from an image's path to scores."""
    network = Interpreter(model_path=model)
    network.allocate_tensors()
    into, out = network.get_input_details(), network.get_output_details()

    def classify(path):
        image = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (SIDE_PX, SIDE_PX))
        network.set_tensor(into[0]["index"], np.expand_dims(image, axis=0))
        network.invoke()
        return network.get_tensor(out[0]["index"])[0]

    return classify

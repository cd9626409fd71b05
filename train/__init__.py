"""Training: a dataset and a recipe become a run folder. Needs TensorFlow; not in the wheel.

Sets what TensorFlow reads when it is imported, so import this first.
"""

import logging
import os

# Quantization-aware training and conversion need Keras 2, which TensorFlow takes only when asked.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# It calls a machine without a GPU an error, and warns of each model that is saved without metrics.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel(logging.ERROR)

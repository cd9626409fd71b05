"""Conversion: a run folder becomes .tflite files. Needs TensorFlow; not in the wheel.

Sets what TensorFlow reads when it is imported, as train does.
"""

import logging
import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel(logging.ERROR)

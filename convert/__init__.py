"""Conversion: a run folder becomes .tflite files. Needs TensorFlow; not in the wheel."""

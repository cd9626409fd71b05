"""Training: a dataset and a recipe become a run folder. Needs TensorFlow; not in the wheel."""

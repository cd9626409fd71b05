"""From a dataset's folder to the images of a run: read, split and prepared."""

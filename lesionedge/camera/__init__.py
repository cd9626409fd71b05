"""Cameras, streams and files: one file a source, and the choice between them."""

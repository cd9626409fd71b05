"""Cameras, streams and files: one module per kind of source, and the choice between them."""

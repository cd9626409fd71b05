"""Classifies archives of images into Parquet files, in many processes or nodes."""

"""What a finished run is worth, on images that it never saw."""

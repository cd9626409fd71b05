"""``lesionedge serve``: a page and an API for browsers and programs, on the device itself."""

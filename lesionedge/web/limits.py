"""How much, how many and how long: what keeps a server that is left running alive."""

from __future__ import annotations

MAX_UPLOAD_BYTES = 20_000_000
"""The largest image file."""

MAX_BODY_BYTES = MAX_UPLOAD_BYTES * 4 // 3 + 100_000
"""The largest request: such an image in base64 and what is around it."""

MAX_IMAGES = 16
"""The most images in one request; together they are within ``MAX_BODY_BYTES``."""

MAX_HELD_BYTES = 5 * MAX_BODY_BYTES
"""All bodies that are being received, or wait, together."""

MAX_WAITING = 64
"""Requests that run or wait for a core; further ones are refused (503)."""

HUGE_PIXELS = 40_000_000
"""Images with more pixels are decoded one at a time: 200 MP take 600 MB."""

MAX_CONNECTIONS = 400

PATIENCE_S = 10.0
SLOWEST_BYTES_PER_S = 50_000
"""A request must be there after 10 s, and a further second for each 50 kB of it that came."""

STUCK_S = 20.0
"""The server closes a connection when the client reads nothing of its response for so long."""

KEEP_ALIVE_S = 5
DRAIN_S = 30
"""How long the server waits for running requests when it is stopped."""

MAX_HEAD_BYTES = 16_384
MAX_JSON_PARTS = 1000
"""JSON with more commas and brackets than this holds other things than images."""

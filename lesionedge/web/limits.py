"""Limits on sizes, numbers and times, which keep a server running for months."""

from __future__ import annotations

MAX_UPLOAD_BYTES = 20_000_000
"""The largest image file."""

MAX_BODY_BYTES = MAX_UPLOAD_BYTES * 4 // 3 + 100_000
"""The largest request: the largest image in base64, and the JSON or form around it."""

MAX_IMAGES = 16
"""The most images in one request; together they are within ``MAX_BODY_BYTES``."""

MAX_HELD_BYTES = 5 * MAX_BODY_BYTES
"""The most memory for all bodies together that are being received or are waiting."""

MAX_WAITING = 64
"""The most requests that run or wait for a core; further ones are refused (503)."""

HUGE_PIXELS = 40_000_000
"""Images with more pixels are decoded one at a time: 200 MP take 600 MB."""

MAX_CONNECTIONS = 400

PATIENCE_S = 10.0
SLOWEST_BYTES_PER_S = 50_000
"""A request must arrive within 10 s, plus a second for each 50 kB that have arrived."""

STUCK_S = 20.0
"""If a client reads nothing of its response for this long, the server closes the connection."""

KEEP_ALIVE_S = 5
DRAIN_S = 30
"""How long the server waits for running requests when it is stopped."""

MAX_HEAD_BYTES = 16_384
MAX_JSON_PARTS = 1000
"""JSON with more commas and brackets than this is refused: it does not only hold images."""
MAX_FORM_PARTS = 100
"""A form of more parts is refused, too."""

"""A network camera on loopback: serves drawn images as MJPEG over HTTP until it is killed.

    python benchmarks/mjpeg_server.py [--size 1280x720] [--rate 30] [--faults]

It prints its port. With --faults, every 500th frame is cut short, and the connection is closed
after 9,000 frames.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageChops

from lesionedge.benchmark import example_image

SHIFTS = 30
DAMAGED_EVERY, CLOSED_AFTER = 500, 9_000


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--rate", type=float, default=30.0, help="frames a second; 0: no limit")
    parser.add_argument("--faults", action="store_true")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    jpegs = images(width, height)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for jpeg in paced(jpegs, options.rate, options.faults):
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                    self.wfile.write(head.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
            except OSError:
                return  # the client has gone

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


def images(width: int, height: int) -> list[bytes]:
    """Draw a lesion that moves a little: JPEGs of quality 85, as cameras send them."""
    with Image.open(io.BytesIO(example_image(width, height))) as opened:
        drawn = opened.convert("RGB")
    found = []
    for shift in range(SHIFTS):
        content = io.BytesIO()
        ImageChops.offset(drawn, shift % 6, shift // 6).save(content, "JPEG", quality=85)
        found.append(content.getvalue())
    return found


def paced(jpegs: list[bytes], rate: float, faults: bool) -> Iterator[bytes]:
    """Yield the images in turns, ``rate`` per second."""
    begin_s = time.monotonic()
    number = 0
    while not (faults and number == CLOSED_AFTER):
        jpeg = jpegs[number % len(jpegs)]
        number += 1
        yield jpeg[: len(jpeg) // 2] if faults and number % DAMAGED_EVERY == 0 else jpeg
        if rate:
            time.sleep(max(0.0, begin_s + number / rate - time.monotonic()))


if __name__ == "__main__":
    main()

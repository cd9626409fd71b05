"""CSI cameras on Raspberry Pi OS, through picamera2."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Iterator

from lesionedge.camera.frame import Shot, from_array
from lesionedge.camera.library import load
from lesionedge.errors import CameraError

STALL_S = 5.0
ERRORS = (RuntimeError, OSError, IndexError, concurrent.futures.TimeoutError)
INSTALL = "sudo apt install python3-picamera2, and python3 -m venv --system-site-packages"


def find() -> int:
    """Return the index of the first CSI camera in picamera2's list."""
    for index, camera in enumerate(load("picamera2", INSTALL).Picamera2.global_camera_info()):
        if "/usb" not in camera["Id"]:  # V4L2 serves those better
            return index
    raise CameraError("picamera2 sees no camera")


class Picamera2Source:
    """The first CSI camera, running at (width, height) px."""

    live, on_demand = True, False

    def __init__(self, size: tuple[int, int]) -> None:
        try:
            camera = self._camera = load("picamera2", INSTALL).Picamera2(find())
        except ERRORS as error:
            raise CameraError(f"picamera2: the camera cannot be opened ({error})") from error
        try:
            main = {"size": size, "format": "BGR888"}  # its name for arrays in the order R, G, B
            camera.configure(camera.create_video_configuration(main=main, queue=False))
            camera.start()
        except ERRORS as error:
            camera.close()
            raise CameraError(f"picamera2: the camera does not start ({error})") from error
        width, height = camera.camera_configuration()["main"]["size"]
        self.description = f"picamera2: RGB {width}x{height}"

    def frames(self) -> Iterator[Shot | None]:
        """Yield the next frame on request."""
        while True:
            try:
                with self._camera.captured_request(wait=STALL_S) as request:
                    array, facts = request.make_array("main"), request.get_metadata()
            except ERRORS as error:
                raise CameraError(f"picamera2: no frame within {STALL_S:g} s ({error})") from error
            yield Shot(functools.partial(from_array, array), facts["SensorTimestamp"] / 1e9)

    def close(self) -> None:
        """Release the camera; first cancel the wait for a frame that may never arrive."""
        self._camera.cancel_all_and_flush()
        self._camera.close()

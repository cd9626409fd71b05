"""Runs GStreamer's RTSP server on loopback. It needs a Python with GStreamer's bindings.

    python rtsp_server.py H264.mp4 PORT

Serves /h264 and /mjpeg; prints the port once it listens.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - versions come first

MJPEG = "video/x-raw,format=I420,width=320,height=240,framerate=25/1"


def main(film: str, port: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    for place, pipeline in {
        "/h264": f'filesrc location="{film}" ! qtdemux ! rtph264pay name=pay0 config-interval=-1',
        "/mjpeg": f"videotestsrc is-live=true ! {MJPEG} ! jpegenc ! rtpjpegpay name=pay0",
    }.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {pipeline} )")
        server.get_mount_points().add_factory(place, factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])

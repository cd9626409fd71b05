"""Whether the options of ``lesionedge serve`` are safe for other machines to use."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import click

LEAST_TOKEN = 16
"""The least number of characters of a token."""


def check(given: dict[str, Any]) -> None:
    """Refuse options that would not be safe."""
    token = given["token"] = given["token"] or None
    if token is not None and (len(token) < LEAST_TOKEN or not re.fullmatch(r"[!-~]+", token)):
        raise click.UsageError(
            f"--token: expected at least {LEAST_TOKEN} letters, digits and signs, no space: "
            f"{_proposal()}"
        )
    if token is None and not given["insecure"] and not _is_loopback(given["host"]):
        raise click.UsageError(
            f"--host {given['host']}: other machines could use it. Set a token, "
            f"LESIONEDGE_TOKEN={_proposal()}; or add --insecure"
        )
    for origin in given["origins"]:
        if not re.fullmatch(r"https?://[a-z0-9.\[\]:_-]+", origin):
            raise click.UsageError(f"--allow-origin {origin}: expected https://NAME or http://NAME")


def _proposal() -> str:
    import secrets

    return secrets.token_urlsafe(24)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

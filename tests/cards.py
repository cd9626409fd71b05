"""Copies of the small models with other cards."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any


def with_card(source: str | Path, target: Path, **changes: Any) -> Path:
    """Copy a model file; replace sections of its card by ``changes``."""
    content = Path(source).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = min(entry.header_offset for entry in archive.infolist())
        files = {name: archive.read(name) for name in archive.namelist()}
    card = {**json.loads(files["lesionedge.json"]), **changes}
    files["lesionedge.json"] = json.dumps(card).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    target.write_bytes(content[:start] + packed.getvalue())
    return target

"""``python -m lesionedge`` is the command ``lesionedge``."""

from __future__ import annotations

from lesionedge.cli import main

if __name__ == "__main__":
    main(prog_name="lesionedge")

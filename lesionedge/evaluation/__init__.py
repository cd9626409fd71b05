"""Measures predictions against labels: figures with intervals, plots and a report.

It needs the extra ``evaluate``, so modules that predict never import it.
"""

from __future__ import annotations

from importlib.util import find_spec

from lesionedge.errors import MissingDependencyError

_missing = [name for name in ("scipy", "pandas", "matplotlib", "jinja2")
            if find_spec(name) is None]  # fmt: skip
if _missing:
    raise MissingDependencyError(
        f"evaluation needs {', '.join(_missing)}; install: pip install 'lesionedge[evaluate]'"
    )

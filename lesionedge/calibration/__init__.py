"""Makes a site profile of a model's predictions for labelled images.

Nothing that predicts imports it: it needs the extra ``evaluate``. Profiles are read and applied by
``lesionedge.profile``.
"""

from __future__ import annotations

from importlib.util import find_spec

from lesionedge.errors import MissingDependencyError

_missing = [name for name in ("scipy", "pandas") if find_spec(name) is None]
if _missing:
    raise MissingDependencyError(
        f"calibration needs {', '.join(_missing)}; install: pip install 'lesionedge[evaluate]'"
    )

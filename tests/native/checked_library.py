"""A plugin of pytest: everything uses the library of the trace package that CHECKED_LIBRARY names."""

from __future__ import annotations

import os
from pathlib import Path

from schedtuna.trace import native

CHECKED = Path(os.environ["CHECKED_LIBRARY"])
setattr(native, "resource_path", lambda _: CHECKED)  # noqa: B010 - not ours to assign

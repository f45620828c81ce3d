"""Where files that ship with the package are, in wheels and in editable installs.

In a wheel everything lies in the package's folder. In an editable install the Python and data
files lie in the source tree, and what CMake built lies in site-packages.
"""

from __future__ import annotations

from pathlib import Path

from schedtuna.errors import UnavailableError


def resource_path(relative: str) -> Path:
    """Return the path of a shipped file, such as ``native/schedtuna-launch``.

    Raises:
        UnavailableError: The installation lacks the file.
    """
    beside = Path(__file__).parent / relative
    if beside.exists():
        return beside
    from importlib import metadata  # which takes its time

    try:
        installed = Path(str(metadata.distribution("schedtuna").locate_file(f"schedtuna/{relative}")))
    except metadata.PackageNotFoundError:
        installed = beside
    if installed.exists():
        return installed
    raise UnavailableError(
        f"this installation lacks {relative}",
        hint="install schedtuna with pip; a source tree builds its native parts with `pip install -e .`",
    )

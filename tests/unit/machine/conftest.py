"""Machines that are made of files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schedtuna.machine.probe import Calls, Probe

Files = dict[str, str | bytes]


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Probe]:
    """Write files below a root, and return the probe that sees them; a value `-> x` is a link."""
    root = tmp_path / "machine"
    root.mkdir()

    def build(files: Files, *, path: str = "", calls: Calls | None = None, **environment: str) -> Probe:
        for name, content in files.items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                file.write_bytes(content)
            elif content.startswith("-> "):
                file.symlink_to(content[3:])
            else:
                file.write_text(content + "\n")
        return Probe(root=root, environment={"PATH": path, **environment}, calls=calls)

    return build

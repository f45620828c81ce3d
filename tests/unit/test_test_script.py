"""`tools/test.sh`, with tests of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CANT_BE_IMPORTED_ONCE = """
from pathlib import Path
mark = Path(__file__).with_suffix(".ran")
if not mark.exists():
    mark.touch()
    raise OSError
def test_passes(): pass
"""


def test_where_not_all_tests_ran_nothing_is_tried_again(tmp_path):
    for name in ("tools/test.sh", "tests/conftest.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['long']\n")
    for folder in ("tests/unit", "tests/property", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tests/unit/test_once.py").write_text(CANT_BE_IMPORTED_ONCE)
    runner = tmp_path / ".venv/bin/pytest"
    runner.write_text(f'#!/bin/sh\nexec {sys.executable} -m pytest "$@"\n')
    runner.chmod(0o755)
    command = [tmp_path / "tools/test.sh", "--retry"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stdout

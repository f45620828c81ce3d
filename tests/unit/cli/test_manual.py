"""Is the manual page whole, and shown well by man(1)?"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from schedtuna.cli.main import COMMANDS
from schedtuna.cli.manual import manual_page
from schedtuna.cli.tree import read_tree

SOURCES = Path(__file__).parents[3] / "src"


def test_it_names_every_command_option_and_variable():
    tree = read_tree()
    page = manual_page(tree).replace("\\-", "-")
    for command in tree.walk():
        assert f"\n.SS {command.path}\n" in page or not command.path
        assert all(name in page for option in command.options for name in option.names)
    assert [command.path for command in tree.commands] == list(COMMANDS)
    variables = {
        name
        for path in SOURCES.rglob("*.py")
        for name in re.findall(r"\"(SCHEDTUNA_[A-Z_]+)\"", path.read_text())
    }
    assert variables <= set(re.findall(r"SCHEDTUNA_[A-Z_]+", page))


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_shows_it_at_80_columns_without_a_warning(tmp_path):
    page = tmp_path / "schedtuna.1"
    page.write_text(manual_page(read_tree()))
    done = subprocess.run(
        ["man", "--warnings=w", "-l", str(page)],
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "PAGER": "cat"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    shown = re.sub(r".\x08", "", done.stdout)
    assert max(map(len, shown.splitlines())) <= 80
    assert "schedtuna compare default fair:slice_us=500 -- ./bench" in shown
    assert "\\" not in shown and "`" not in shown

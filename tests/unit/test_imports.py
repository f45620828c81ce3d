"""What `import schedtuna` and the layers of the tree must not pull in."""

import ast
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LATE = ("torch", "sklearn", "optuna", "matplotlib", "scipy", "polars", "pandas", "jinja2")
COMPUTING = (*LATE, "numpy")
HEAVY = (*COMPUTING, "pydantic")


LOADER = "from schedtuna.cli.main import COMMANDS, load, main; "
# Who never imports what: before a command runs, until a short one ends, before a long one computes.
NEVER = {
    "import schedtuna": HEAVY,
    "import schedtuna.cli.main; schedtuna.cli.main.build()": HEAVY,
    LOADER + "[load(name) for name in COMMANDS]": HEAVY,
    LOADER + "main(['undo', '--dry-run'])": COMPUTING,
    LOADER + "main(['knobs'])": COMPUTING,
    LOADER + "main(['schedulers', 'list'])": COMPUTING,
    LOADER + "main(['suite', 'list'])": COMPUTING,
    LOADER + "main(['doctor'])": COMPUTING,
    LOADER + "main(['sim', 'list'])": COMPUTING,
    "import schedtuna.tune.running, schedtuna.tune.apply, schedtuna.tune.page": LATE,
    "import schedtuna.experiment.compare, schedtuna.backend.host": LATE,
    "import schedtuna.samplers.gp, schedtuna.history.importance": LATE,
    "import schedtuna.record.recorder, schedtuna.trace.writer": (*LATE, "pydantic"),
}


@pytest.mark.parametrize("statement", NEVER)
def test_nothing_heavy_is_imported_before_it_is_used(statement, tmp_path):
    seen = "import atexit, sys; atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr)); "
    done = subprocess.run(
        [sys.executable, "-c", seen + statement],
        env={**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    modules = done.stderr.splitlines()[-1].split()
    assert "schedtuna" in modules
    assert not set(NEVER[statement]) & set(modules)


def test_public_names_are_what_they_say():
    import schedtuna

    for name in schedtuna.__all__:
        assert getattr(schedtuna, name) is not None
    assert set(schedtuna.__all__) <= set(dir(schedtuna))


def test_imports_go_one_way():
    """The order is in pyproject.toml; a violation is listed with the line that makes it."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-logo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_each_public_class_has_a_name_of_its_own():
    """So that a search finds the one that is meant, and an import of another one does not pass for it."""
    found = defaultdict(list)
    for path in sorted((ROOT / "src" / "schedtuna").rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in found.items() if len(files) > 1} == {}

"""What `import schedtuna` and the layers of the tree must not pull in."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "sklearn", "optuna", "matplotlib", "scipy", "polars", "numpy", "pydantic")


@pytest.mark.parametrize(
    "statement",
    [
        "import schedtuna",
        "import schedtuna.cli.main; schedtuna.cli.main.build()",
        "from schedtuna.cli.main import COMMANDS, load; [load(name) for name in COMMANDS]",
    ],
    ids=["package", "command line", "every command's options"],
)
def test_nothing_heavy_is_imported_before_it_is_used(statement):
    code = f"{statement}\nimport sys; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["tune.running", "samplers.gp", "history.importance", "experiment.compare"]
)
def test_scipy_is_imported_where_something_is_computed(module):
    code = f"import sys, schedtuna.{module}; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


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

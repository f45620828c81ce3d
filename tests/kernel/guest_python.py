"""Schedtuna itself inside a guest: the package and what it imports, copied into a folder to be shared."""

import compileall
import importlib
import json
import shutil
import sys
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import pytest

from schedtuna.lab.store import Lab
from schedtuna.lab.vm import BootedGuest
from schedtuna.resources import resource_path

IMPORTS = (
    "annotated_doc",
    "annotated_types",
    "pydantic",
    "pydantic_core",
    "shellingham",
    "typer",
    "typing_extensions",
    "typing_inspection",
    "rich",
    "pygments",
    "markdown_it",
    "mdurl",
)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "tests", "f2py", "*.pyi", "*.a", "*.h", "testing")
SOURCE = Path(__file__).parents[2] / "src/schedtuna"
# Runs commands one after the other, each in a child, so that the imports are paid once: they take seconds
# in an emulated guest. Reads [[argument, ...], ...] and writes [[exit code, output], ...].
RUNNER = """
import json, os, sys
from schedtuna.cli.main import main
import schedtuna.cli.schedulers, schedtuna.cli.undo, schedtuna.scheduler.control, schedtuna.knobs.undo
from schedtuna.knobs import journal

def killed_at(step):
    init = journal.Journal.__init__
    def patched(self, directory=None, **options):
        init(self, directory, **options | {"on_step": lambda name: name == step and os.kill(os.getpid(), 9)})
    journal.Journal.__init__ = patched

results = []
for argv in json.loads(sys.argv[1]):
    if (child := os.fork()) == 0:
        output = os.open("/tmp/output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if argv[0].startswith("killed at "):
            killed_at(argv.pop(0).removeprefix("killed at "))
        try:
            main(argv)
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code or 0)
        os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    results.append([status, open("/tmp/output").read()])
print(json.dumps(results))
"""


def shared_package(lab: Lab, folder: Path, *, numpy: bool = False) -> Path:
    """Fill a folder; /share/lib is the guest's PYTHONPATH then. Skips where its Python is another one.

    Args:
        numpy: Whether what measures is imported, too: 70 MB.
    """
    name = f"python3.{sys.version_info.minor}"
    if not (lab.guest_root / "usr/bin" / name).exists():
        pytest.skip(f"the guest's Python is not {name}, as this one is")
    lib = folder / "lib"
    shutil.copytree(SOURCE, lib / "schedtuna", ignore=LEFT_OUT)
    for module in IMPORTS:
        found = Path(str(importlib.import_module(module).__file__))
        if found.name == "__init__.py":
            shutil.copytree(found.parent, lib / module, ignore=LEFT_OUT)
        else:
            shutil.copy(found, lib / found.name)
    if numpy:
        site = Path(str(importlib.import_module("numpy").__file__)).parents[1]
        for part in ("numpy", "numpy.libs"):
            shutil.copytree(site / part, lib / part, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    else:  # imported by what describes parameters, used by what searches them
        (lib / "numpy.py").touch()
    (lib / "runner.py").write_text(RUNNER)
    (lib / "schedtuna/native").mkdir()
    for built in ("schedtuna-launch", "libbpf.so"):
        shutil.copy(resource_path(f"native/{built}"), lib / "schedtuna/native")
    # A guest's files have no times that bytecode could be checked against.
    compileall.compile_dir(
        lib, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH, stripdir=str(folder)
    )
    return folder


def share_cells(share: Path) -> None:
    """Add what measures knobs to such a folder: `tests.kernel.knob_cells`, as here."""
    folder = share / "lib/tests/kernel"
    folder.mkdir(parents=True)
    for name in ("knob_cells.py", "knob_loads.py"):
        shutil.copy(Path(__file__).with_name(name), folder)


def run_in(guest: BootedGuest, *commands: tuple[str, ...]) -> list[tuple[int, str]]:
    """Run schedtuna's commands in a guest that shares such a folder; returns exit codes and outputs.

    A first word ``killed at STEP`` ends the command by SIGKILL at that step of its journal.
    """
    return [(code, output) for code, output in run_script(guest, "runner.py", json.dumps(commands))]


def run_script(guest: BootedGuest, name: str, *arguments: str) -> Any:
    """Run a Python script of the shared library; returns the JSON that it printed."""
    raw = guest.run(
        ["python3", f"/share/lib/{name}", *arguments],
        environment={"PYTHONPATH": "/share/lib", "SCHEDTUNA_STATE_DIR": "/root/state"},
        folder="/root",
        timeout_s=300,
    )
    assert raw.exit_code == 0, raw.stderr
    return json.loads(raw.stdout)

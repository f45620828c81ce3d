"""A model's C, compiled here: as a shared library, and to tell whether it computes what it should."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from schedtuna.errors import ModelError, UnavailableError
from schedtuna.export.c import generate_c
from schedtuna.export.c_text import identifier
from schedtuna.files import write_text
from schedtuna.model.model import DecisionModel

FLAGS = ("-std=c99", "-O3", "-march=native")
_PATIENCE_S = 300
_MAIN = """#include <stdio.h>
#include "{name}.h"

int main(void)
{{
	printf("%d\\n", {name}_check());
	return 0;
}}
"""


def find_compiler() -> str:
    """Return the C compiler of this machine.

    Raises:
        UnavailableError: There is none.
    """
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return found
    raise UnavailableError("there is no C compiler here: no cc, gcc or clang", hint="apt-get install gcc")


def check_compiled(model: DecisionModel) -> int:
    """Compile a model's C here and run its own rows.

    Returns:
        0, or 1 + the number of the first row of which anything differs.

    Raises:
        UnavailableError: There is no C compiler.
        ModelError: It doesn't compile the model.
    """
    compiler = find_compiler()
    with tempfile.TemporaryDirectory(prefix="schedtuna-model-") as made:
        folder = Path(made)
        name = _write_sources(model, folder)
        sources = [folder / f"{name}.c", folder / f"{name}_check.c", folder / "main.c"]
        _compile([compiler, *FLAGS, "-o", str(folder / "check"), *map(str, sources)])
        done = _run([str(folder / "check")])
        if done.returncode:
            raise ModelError(f"the compiled model's check ended with {done.returncode}")
        return int(done.stdout)


def shared_library(model: DecisionModel, name: str | None = None, *, small: bool = False) -> dict[str, bytes]:
    """Return the files of a shared library for this machine's CPU: NAME.so and NAME.h.

    Args:
        model: The model, with rows.
        name: What files and functions begin with; default: made of the model's name.
        small: As of `generate_c`.

    Raises:
        UnavailableError: There is no C compiler.
        ModelError: It doesn't compile the model, or what it made differs from the reference.
    """
    compiler = find_compiler()
    name = name or identifier(model.name)
    if row := check_compiled(model):
        raise ModelError(f"compiled by {compiler}, the model's row {row - 1} differs from the reference")
    with tempfile.TemporaryDirectory(prefix="schedtuna-model-") as made:
        folder = Path(made)
        _write_sources(model, folder, name, small=small)
        library = folder / f"{name}.so"
        sources = [str(folder / f"{name}.c"), str(folder / f"{name}_check.c")]
        _compile([compiler, *FLAGS, "-shared", "-fPIC", "-o", str(library), *sources])
        return {library.name: library.read_bytes(), f"{name}.h": (folder / f"{name}.h").read_bytes()}


def compiled_bytes(model: DecisionModel, *, small: bool = False) -> int:
    """Return the bytes of machine code and tables of a model's C, compiled here for size, without its check.

    Raises:
        UnavailableError: There is no C compiler, or no `size`.
        ModelError: It doesn't compile the model.
    """
    compiler, counter = find_compiler(), shutil.which("size")
    if counter is None:
        raise UnavailableError("there is no `size` here, which counts bytes", hint="apt-get install binutils")
    with tempfile.TemporaryDirectory(prefix="schedtuna-model-") as made:
        folder = Path(made)
        name = _write_sources(model, folder, small=small)
        made_of = folder / f"{name}.o"
        _compile([compiler, "-std=c99", "-Os", "-c", "-o", str(made_of), str(folder / f"{name}.c")])
        code, data = _run([counter, str(made_of)]).stdout.splitlines()[1].split()[:2]
        return int(code) + int(data)


def _write_sources(
    model: DecisionModel, folder: Path, name: str | None = None, *, small: bool = False
) -> str:
    name = name or identifier(model.name)
    texts = {**generate_c(model, name, small=small), "main.c": _MAIN.format(name=name)}
    for file, text in texts.items():
        write_text(folder / file, text)
    return name


def _compile(command: list[str]) -> None:
    done = _run(command)
    if done.returncode:
        raise ModelError(f"{command[0]} does not compile the model: {done.stderr.strip()[:500]}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{command[0]} did not end within {_PATIENCE_S} s") from None

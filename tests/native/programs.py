"""Native programs for tests: the simulator's sources and a test's own, compiled side by side."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[2]
# All of the simulator but what reads files.
ENGINE = [
    source
    for source in sorted((ROOT / "native/sim").glob("*.cpp"))
    if not source.name.startswith(("rt_app", "json"))
]
ENVIRONMENTS = [*ENGINE, *sorted((ROOT / "native/env").glob("*.cpp"))]
OBJECTS = ROOT / "build/tests"  # compiled once for all that use them, in any process or session
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DSCHEDTUNA_SIM_CHECK")


@functools.cache
def digest_of_headers(compiler: str) -> str:
    """Tell apart what objects depend on beside their source and flags: the compiler and every header."""
    digest = hashlib.sha256(subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout)
    for folder in ("native", "include", "tests/native"):
        for header in sorted((ROOT / folder).rglob("*.h*")):
            digest.update(f"{header}\n".encode() + header.read_bytes())
    return digest.hexdigest()


def compile_object(source: Path, command: list[str]) -> Path:
    """Compile a source if no one has; whoever wants the same meanwhile waits for it."""
    told = "\n".join([digest_of_headers(command[0]), *command, str(source)]).encode() + source.read_bytes()
    target = OBJECTS / f"{source.stem}-{hashlib.sha256(told).hexdigest()[:16]}.o"
    OBJECTS.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(".partial")
            done = subprocess.run(
                [*command, "-c", source, "-o", partial], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0 and not done.stderr, done.stderr
            partial.rename(target)
    return target


def compile_program(
    program: Path,
    sources: list[Path],
    flags: tuple[str, ...] = SANITIZED,
    compiler: str = "g++",
    libraries: tuple[str, ...] = (),
) -> Path:
    """Compile each source by itself, as many at a time as there are CPUs, and link them with libraries."""
    command = [compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", *flags]
    command += [f"-I{ROOT / folder}" for folder in ("native", "include")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda source: compile_object(source, command), sources))
    subprocess.run([*command, "-pthread", *objects, *libraries, "-o", program], check=True)
    return program


def cases_of(source: Path) -> list[str]:
    """The names in its table of cases; `test_every_case_is_run` compares them with the program's."""
    table = source.read_text().partition("CASES[] = {")[2].partition("};")[0]
    return [entry.split('"')[1] for entry in table.split("{") if '"' in entry]

"""Native programs for tests: the simulator's sources and a test's own, compiled side by side."""

from __future__ import annotations

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
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DSCHEDTUNA_SIM_CHECK")


def compile_program(
    program: Path, sources: list[Path], flags: tuple[str, ...] = SANITIZED, compiler: str = "g++"
) -> Path:
    """Compile each source by itself, as many at a time as there are CPUs, and link them."""
    common = [compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", *flags]
    includes = [f"-I{ROOT / folder}" for folder in ("native", "include")]
    objects = [program.with_name(f"{program.name}-{source.stem}.o") for source in sources]

    def compile_one(source: Path, target: Path) -> str:
        command: list[str | Path] = [*common, *includes, "-c", source, "-o", target]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = "".join(pool.map(compile_one, sources, objects))
    assert not said, said
    subprocess.run([*common, "-pthread", *objects, "-o", program], check=True)
    return program


def cases_of(source: Path) -> list[str]:
    """The names in its table of cases; `test_every_case_is_run` compares them with the program's."""
    table = source.read_text().partition("CASES[] = {")[2].partition("};")[0]
    return [entry.split('"')[1] for entry in table.split("{") if '"' in entry]

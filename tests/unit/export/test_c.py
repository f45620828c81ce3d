"""Generated C computes every accumulator as the reference does, whoever compiles it, and needs no library."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests import models

from schedtuna.errors import UsageError
from schedtuna.export.c import generate_c
from schedtuna.export.c_text import comment, identifier, number, require_identifier
from schedtuna.model.model import DecisionModel

DRIVER = Path(__file__).parents[2] / "native/model_driver.c"
BARE = DRIVER.with_name("model_bare.c")
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILERS = [
    ("gcc", "-O0"),
    ("clang", "-O3"),
    ("gcc", *SANITIZED),
    ("gcc", "-O3", "-march=native"),
    ("clang", "-O1"),
    ("gcc", "-O2"),
    ("clang", "-O1", "-fsanitize=undefined", "-fsanitize-trap=all"),  # its runtime is not everywhere
]


def write(model: DecisionModel, folder: Path, *, small: bool = False) -> None:
    for name, text in generate_c(model, "m", small=small).items():
        (folder / name).write_text(text)


def compiled(folder: Path, compiler: tuple[str, ...], *sources: Path) -> Path:
    program = folder / "program"
    command: list[str | Path] = [*compiler, *FLAGS, "-I", folder, "-o", program, folder / "m.c", *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return program


def values_of(model: DecisionModel, count: int) -> np.ndarray:
    """Its own rows; random ones within the bounds of its inputs, and of any size."""
    random = np.random.default_rng(7)
    columns = [random.integers(one.bins.lo, one.bins.hi, count, endpoint=True) for one in model.inputs]
    anything = random.integers(-(2**63), 2**63 - 1, (count // 10, len(model.inputs)))
    return np.concatenate([model.rows.values, np.stack(columns, axis=1), anything])


def require_same(model: DecisionModel, program: Path, count: int) -> None:
    """Compare what a program computes of many rows with the reference."""
    values = values_of(model, count)
    record = np.dtype(
        [
            ("bins", "<u2", (len(model.inputs),)),
            ("accumulators", "<i4", (model.core.nr_accumulators,)),
            ("logits", "<i4", (model.core.nr_logits,)),
            ("decision", "<i4"),
        ]
    )
    for part in np.array_split(values, 1 + len(values) // 50_000):
        done = subprocess.run([program], input=part.tobytes(), capture_output=True, check=True)
        found = np.frombuffer(done.stdout, record)
        bins = model.quantise(part)
        expected = model.accumulate(bins)
        assert np.array_equal(found["bins"], bins)
        assert np.array_equal(found["accumulators"], expected)
        assert np.array_equal(found["logits"], expected[:, -model.core.nr_logits :])
        assert np.array_equal(found["decision"], model.decide(bins))


@pytest.mark.parametrize(("number_", "kind"), list(enumerate(models.KINDS)), ids=str)
def test_every_accumulator_is_the_references(number_, kind, tmp_path):
    model = models.make(kind)
    write(model, tmp_path, small=number_ % 2 == 1)
    program = compiled(tmp_path, COMPILERS[number_ % len(COMPILERS)], DRIVER)
    require_same(model, program, 2_000 if "mlp" in kind or "step" in kind else 10_000)


@pytest.mark.long
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("kind", models.KINDS)
def test_a_million_rows_are_the_references_by_all_compilers(kind, small, tmp_path):
    model = models.make(kind)
    write(model, tmp_path, small=small)
    for compiler in COMPILERS:
        program = compiled(tmp_path, compiler, DRIVER)
        require_same(model, program, 1_000_000 if compiler == COMPILERS[3] else 50_000)


@pytest.mark.parametrize("kind", ["trees", "oblivious", "linear", "small mlp", "small step"])
def test_it_needs_no_library_and_no_floats(kind, tmp_path):
    write(models.make(kind), tmp_path)
    for compiler in (("gcc", "-O3"), ("clang", "-O2")):
        command = [*compiler, *FLAGS, "-c", tmp_path / "m.c", "-o", tmp_path / "m.o"]
        subprocess.run(command, check=True)
        told = subprocess.run(
            ["nm", "-u", tmp_path / "m.o"], capture_output=True, text=True, check=True
        ).stdout
        assert told == ""
    assert "float" not in (tmp_path / "m.c").read_text() and "double" not in (tmp_path / "m.c").read_text()


MAIN = "int m_check(void);\nint main(void)\n{\n\treturn m_check() != 0;\n}\n"


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("small mlp", ") >> 8;", ") >> 8 << 1 >> 1 | 1;"),
        ("small step", "sum >= 0", "sum > 0"),
        ("linear", ">> 47", ">> 46"),
        ("small mlp", "value > 127 ? 127", "value > 126 ? 126"),
    ],
)
def test_its_own_rows_find_what_is_wrong(kind, right, wrong, tmp_path):
    write(models.make(kind), tmp_path)
    (tmp_path / "main.c").write_text(MAIN)
    sources = (tmp_path / "m_check.c", tmp_path / "main.c")
    assert subprocess.run([compiled(tmp_path, ("gcc",), *sources)], check=False).returncode == 0
    source = (tmp_path / "m.c").read_text()
    assert right in source
    (tmp_path / "m.c").write_text(source.replace(right, wrong))
    assert subprocess.run([compiled(tmp_path, ("gcc",), *sources)], check=False).returncode == 1


def test_a_bin_beyond_the_last_is_taken_for_it(tmp_path):
    model = models.make("trees")
    write(model, tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "m.h"\nint main(void)\n{\n\tuint16_t all[M_NR_INPUTS], last[M_NR_INPUTS];\n'
        "\tint64_t values[M_NR_INPUTS];\n\tint32_t a[1], b[1];\n"
        "\tfor (int i = 0; i < M_NR_INPUTS; i++) {\n\t\tall[i] = 65535;\n\t\tvalues[i] = INT64_MAX;\n\t}\n"
        "\tm_quantise(values, last);\n\tm_logits(all, a);\n\tm_logits(last, b);\n\treturn a[0] != b[0];\n}\n"
    )
    program = compiled(tmp_path, ("gcc", *SANITIZED), tmp_path / "main.c")
    assert subprocess.run([program], check=False).returncode == 0


def test_a_header_is_one_of_c_plus_plus_too(tmp_path):
    write(models.make("linear"), tmp_path)
    (tmp_path / "main.cpp").write_text('#include "m.h"\nint main() { return M_NR_LABELS - 2; }\n')
    subprocess.run(["g++", "-Wall", "-Werror", "-fsyntax-only", tmp_path / "main.cpp"], check=True)


def test_texts_of_others_end_no_comment_and_no_line(tmp_path):
    evil = "*/ int x; /* \\\n#include <x> ??/ \x00 é"
    model = models.make("linear")
    named = DecisionModel(evil, model.inputs, (evil, "b"), model.core, evil, model.rows)
    for name, text in generate_c(named, "m").items():
        (tmp_path / name).write_text(text, encoding="ascii")
    compiled(tmp_path, ("gcc", "-c"))
    assert comment("a*/b") == "a?b"


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Migrate v2", "migrate_v2"),
        ("2", "model_2"),
        ("int", "model_int"),
        ("", "model"),
        ("é", "model"),
        ("x" * 99, "x" * 40),
    ],
)
def test_a_name_becomes_one_of_c(name, made):
    assert identifier(name) == made
    assert require_identifier(made) == made


@pytest.mark.parametrize("name", ["Int", "a-b", "int", "", "1x", "a;b", "../a"])
def test_names_that_are_none_of_c_are_refused(name):
    with pytest.raises(UsageError, match="no name for C"):
        require_identifier(name)


ENDS = [0, -1, 2**31 - 1, -(2**31), 2**31, 2**32, 2**47, 2**63 - 1, -(2**63) + 1, -(2**63), 2**64 - 1]


def test_numbers_keep_their_value(tmp_path):
    lines = "".join(
        f'\tprintf("%" PRI{"u" if value > 2**63 else "d"}64 "\\n", '
        f"({'u' * (value > 2**63)}int64_t){number(value)});\n"
        for value in ENDS
    )
    (tmp_path / "n.c").write_text(
        f"#include <stdio.h>\n#include <inttypes.h>\nint main(void)\n{{\n{lines}\treturn 0;\n}}\n"
    )
    subprocess.run(["gcc", *FLAGS, tmp_path / "n.c", "-o", tmp_path / "n"], check=True)
    printed = subprocess.run([tmp_path / "n"], capture_output=True, check=True).stdout
    assert [int(line) for line in printed.splitlines()] == ENDS


@pytest.mark.long
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize(
    "kind", ["trees", "oblivious", "linear", "linear of four", "mlp", "small mlp", "small step"]
)
def test_a_microcontroller_computes_the_same(kind, small, tmp_path):
    """Code for a Cortex-M3, without a library but the compiler's own.

    Its instructions are Thumb-2's, which an emulated CPU of another profile runs as well, as a process.
    """
    for tool in ("arm-none-eabi-gcc", "qemu-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    write(models.make(kind), tmp_path, small=small)
    source = (tmp_path / "m.c").read_text()
    program = tmp_path / "program"
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-Os", "-std=gnu99", "-Wall", "-Werror"]
    command += ["-ffreestanding", "-nostdlib", "-I", str(tmp_path), "-o", str(program)]
    command += [str(BARE), str(tmp_path / "m.c"), str(tmp_path / "m_check.c"), "-lgcc"]
    subprocess.run(command, check=True)
    assert subprocess.run(["qemu-arm", "-cpu", "max", program], check=False).returncode == 0
    assert ">> 47" in source
    (tmp_path / "m.c").write_text(source.replace(">> 47", ">> 46"))
    subprocess.run(command, check=True)
    assert subprocess.run(["qemu-arm", "-cpu", "max", program], check=False).returncode == 1

"""Wild programs: translated code and the interpreter do the same, and neither leaves the block.

Both run under the address and undefined-behaviour sanitizers, each in a block that is allocated exactly.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from tests.unit.sim.bpf.elf_writer import EMPTY_BTF, write_object

from schedtuna.sim.bpf.c_source import source_of
from schedtuna.sim.bpf.kernel import KernelTypes
from schedtuna.sim.bpf.mirror import mirror
from schedtuna.sim.bpf.object_file import Operations, read_object
from schedtuna.sim.bpf.resolve import resolve
from schedtuna.sim.bpf.translation import Translation

PROGRAMS = 120
LENGTH = 24
ROOT = Path(__file__).parents[2]
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
MAIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { LIMIT = 1 << 16, FUEL = 5000 };
struct outcome { uint64_t result; struct scx_instance i; uint8_t *memory; };
static struct outcome run(uint32_t function, int interpreted)
{
	struct outcome o = {0};
	o.memory = calloc(1, LIMIT + SCX_SLACK);
	for (uint32_t k = SCX_STACK; k < LIMIT; k++)
		o.memory[k] = (uint8_t)(k * 7 + (k >> 8));
	o.i.memory = o.memory;
	o.i.limit = LIMIT;
	o.i.stack = SCX_STACK;
	o.i.fuel = FUEL;
	o.i.object = interpreted ? &as_tables : &scx_object;
	if (interpreted)
		o.result = scx_interpret(&o.i, function, SCX_STACK + 4096, LIMIT - 4, 77, 1, -8);
	else
		o.result = functions[function].native(&o.i, SCX_STACK + 4096, LIMIT - 4, 77, 1, -8);
	return o;
}
int main(void)
{
	unsigned differ = 0, reasons[8] = {0};
	as_tables = scx_object;
	as_tables.functions = tables;
	for (uint32_t k = 0; k < scx_object.nr_functions; k++) {
		struct outcome a = run(k, 0), b = run(k, 1);
		reasons[a.i.trap.reason]++;
		differ += a.result != b.result || a.i.fuel != b.i.fuel || a.i.stack != b.i.stack ||
			a.i.stack != SCX_STACK || memcmp(&a.i.trap, &b.i.trap, sizeof(a.i.trap)) ||
			memcmp(a.memory, b.memory, LIMIT + SCX_SLACK);
		free(a.memory);
		free(b.memory);
	}
	printf("%u", differ);
	for (int k = 0; k < 8; k++)
		printf(" %u", reasons[k]);
	return 0;
}
"""


def slot(code: int, dst: int, src: int, off: int, imm: int) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, off, imm)


def wild(pick: random.Random, number: int) -> bytes:
    """A program that goes anywhere: every address, jumps back, and calls of others."""
    parts: list[bytes] = []
    while len(parts) < LENGTH:
        dst, src, off = pick.randrange(10), pick.randrange(11), pick.choice((0, 8, -8, -16, 7))
        if pick.random() < 0.8:  # most accesses hit
            src = pick.choice((1, 10, 10))
        if pick.random() < 0.1:
            off = pick.choice((4096, -32768, 32767))
        imm, place = pick.choice((0, 1, -1, 3, 4096, 2**31 - 1, -(2**31))), len(parts)
        jump = pick.randint(-place - 1, LENGTH - place - 1)
        kind = pick.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 11, 11, pick.choice((9, 10))))
        if kind < 3:
            operation = pick.choice((0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0))
            by_register = pick.choice((0, 8))
            parts.append(
                slot(operation | pick.choice((4, 7)) | by_register, dst, src if by_register else 0, 0, imm)
            )
        elif kind < 5:
            parts.append(slot(pick.choice((0x61, 0x69, 0x71, 0x79, 0x81, 0x89, 0x91)), dst, src, off, 0))
        elif kind < 7:
            parts.append(slot(pick.choice((0x63, 0x6B, 0x73, 0x7B)), src, dst, off, 0))
        elif kind == 7:
            parts.append(slot(pick.choice((0x62, 0x6A, 0x72, 0x7A)), src, 0, off, imm))
        elif kind == 8:
            parts.append(
                slot(pick.choice((0xC3, 0xDB)), src, dst, off, pick.choice((0, 1, 0x41, 0xA1, 0xE1, 0xF1)))
            )
        elif kind == 9:
            parts.append(slot(pick.choice((0x1D, 0x55, 0x65, 0xAE, 0xD6, 0x05, 0xE5)), dst, 0, jump, 3))
        elif kind == 10:  # a call of another one, by its distance
            to = pick.randrange(PROGRAMS)
            parts.append(slot(0x85, 0, 1, 0, (to - number) * (LENGTH + 1) - place - 1))
        else:
            parts.append(slot(0xBF, dst, 10, 0, 0))
    return b"".join([*parts, slot(0x95, 0, 0, 0, 0)])


def tables_of(translation: Translation) -> str:
    """The same instructions for the interpreter, in C."""
    lines, rows = [], []
    for number, code in enumerate(translation.resolved.code):
        cells = ",".join(f"{{{i.code},{i.dst},{i.src},0,{i.off},{i.imm}ull,0,0}}" for i in code)
        lines.append(f"static const struct scx_instruction t{number}[] = {{{cells}}};")
        rows.append(f'{{"p{number}", "", 0, t{number}, {len(code)}, 1}}')
    lines.append(f"static const struct scx_function tables[] = {{{','.join(rows)}}};")
    return "\n".join([*lines, "static struct scx_object as_tables;"])


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_both_do_the_same_and_stay_inside(seed: int, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    pick = random.Random(seed)
    kernel = KernelTypes("none", "", EMPTY_BTF)
    data = write_object([(f"p{number}", wild(pick, number)) for number in range(PROGRAMS)])
    object_ = read_object(data, "wild", kernel)
    operations = Operations("wild", "wild", {}, {}, [])
    resolved = resolve(object_, kernel.types, mirror())
    translation = Translation(object_, operations, resolved, "none", "0", {}, list(range(PROGRAMS)))
    (tmp_path / "wild.c").write_text(source_of(translation) + tables_of(translation) + MAIN)
    program = tmp_path / "wild"
    headers = [f"-I{ROOT / 'include'}", f"-I{ROOT / 'native/scx'}"]
    sources = [str(tmp_path / "wild.c"), str(ROOT / "native/scx/interpreter.c")]
    subprocess.run(
        [compiler, "-w", "-fwrapv", *SANITIZED, *headers, *sources, "-o", str(program)], check=True
    )
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    differ, *reasons = map(int, done.stdout.split())
    assert differ == 0
    ended, load, store, _, fuel, *_ = reasons
    assert min(ended, load, store, fuel) >= 5, reasons

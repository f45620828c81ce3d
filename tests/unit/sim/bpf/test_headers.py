"""What Python says of the two headers is what a C compiler makes of them."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.resources import resource_path
from schedtuna.sim.bpf import abi
from schedtuna.sim.bpf.compiled import find_compiler
from schedtuna.sim.bpf.mirror import MirrorTypes, mirror, mirror_text

INCLUDE = resource_path("native/scx/scx_mirror.h").parent  # what is installed belongs together
STRUCTURES = {
    "instruction": abi.CInstruction,
    "function": abi.CFunction,
    "member": abi.CMember,
    "call": abi.CCall,
    "section": abi.CSection,
    "global": abi.CGlobal,
    "map": abi.CMap,
    "map_slot": abi.CMapSlot,
    "symbol": abi.CSymbol,
    "local_type": abi.CLocalType,
    "block": abi.CBlock,
    "object": abi.CObject,
}
NUMBERS = {
    "SCX_OBJECT_ABI": abi.ABI,
    "SCX_STACK": abi.STACK,
    "SCX_FRAME_BYTES": abi.FRAME_BYTES,
    "SCX_STACK_BYTES": abi.STACK_BYTES,
    "SCX_IMAGE": abi.IMAGE,
    "SCX_MAP_REFERENCE": abi.MAP_REFERENCE,
    "SCX_FUNCTION_REFERENCE": abi.FUNCTION_REFERENCE,
    "SCX_OWN_CALL": abi.OWN_CALL,
    "SCX_OWN_CALL_LOCAL": abi.OWN_CALL_LOCAL,
    "SCX_OWN_SYMBOL": abi.OWN_SYMBOL,
    "SCX_OWN_UNKNOWN": abi.OWN_UNKNOWN,
}


def asked_of_c(folder: Path, header: str, questions: list[str]) -> list[int]:
    """What a compiler says that expressions are worth."""
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler")
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({each}));\n' for each in questions)
    source = f'#include <stddef.h>\n#include <stdio.h>\n#include "{header}"\nint main(void) {{ {lines} }}\n'
    (folder / "ask.c").write_text(source)
    command = [compiler, "-w", f"-I{INCLUDE}", str(folder / "ask.c"), "-o", str(folder / "ask")]
    subprocess.run(command, check=True)
    done = subprocess.run([folder / "ask"], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


def test_the_description_is_laid_out_as_in_c(tmp_path: Path) -> None:
    questions, answers = list(NUMBERS), list(NUMBERS.values())
    for name, structure in STRUCTURES.items():
        questions.append(f"sizeof(struct scx_{name})")
        answers.append(ctypes.sizeof(structure))
        for member, *_ in structure._fields_:
            questions.append(f"offsetof(struct scx_{name}, {member})")
            answers.append(getattr(structure, member).offset)
    assert dict(zip(questions, asked_of_c(tmp_path, "scx_object.h", questions), strict=True)) == dict(
        zip(questions, answers, strict=True)
    )


def test_the_mirror_is_laid_out_as_in_c(tmp_path: Path) -> None:
    questions, answers = [], []
    for name in mirror().structures:
        for member, (offset, size) in mirror().members(name).items():
            questions += [f"offsetof(struct {name}, {member})", f"sizeof(((struct {name} *)0)->{member})"]
            answers += [offset, size]
    assert len(questions) > 100
    assert asked_of_c(tmp_path, "scx_mirror.h", questions) == answers


def test_the_mirror_has_every_structure_of_the_header() -> None:
    text = re.sub(r"/\*.*?\*/", "", mirror_text(), flags=re.DOTALL)
    assert set(mirror().structures) == set(re.findall(r"^struct (\w+) \{", text, re.MULTILINE))


@pytest.mark.parametrize("line", ["u32 a : 3;", "struct later x;", "u64 (*f)(void);", "u32 a, b;", "long a;"])
def test_what_is_not_plain_is_refused(line: str) -> None:
    with pytest.raises(UnavailableError, match="not as plain"):
        MirrorTypes(f"struct one {{\n\t{line}\n}};\n")

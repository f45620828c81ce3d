"""Random programs: what the kernel's own JIT makes of them, and the translation of scheduler objects."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.sim.bpf.elf_writer import EMPTY_BTF, write_object
from tests.unit.sim.bpf.machine import Machine

from schedtuna.sim.bpf.abi import CObject
from schedtuna.sim.bpf.c_source import source_of
from schedtuna.sim.bpf.compiled import find_compiler, make_library
from schedtuna.sim.bpf.interpreted import Memory
from schedtuna.sim.bpf.kernel import KernelTypes
from schedtuna.sim.bpf.mirror import mirror
from schedtuna.sim.bpf.object_file import Operations, read_object
from schedtuna.sim.bpf.resolve import resolve
from schedtuna.sim.bpf.translation import Translation

PROGRAMS = 500
BODY = 40
SEED = 20261130
BPF, PROG_LOAD, TEST_RUN, SOCKET_FILTER = 321, 5, 10, 1
EDGES = (0, 1, -1, 2, 7, 31, 32, 63, 2**31 - 1, -(2**31), -2, 255, 65535)
OPERATIONS = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0)
JUMPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
ATOMICS = (0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1)


def instruction(code: int, dst: int, src: int, off: int, imm: int) -> bytes:
    return struct.pack("<BBhi", code, src << 4 | dst, off, imm)


class Generator:
    """Straight-line programs with jumps ahead, over all registers and eight words of the stack."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def number(self) -> int:
        return (
            self.random.choice(EDGES)
            if self.random.random() < 0.5
            else self.random.randint(-(2**31), 2**31 - 1)
        )

    def arithmetic(self, dst: int, src: int, kind: int, by_register: int) -> bytes:
        operation, number, off = self.random.choice(OPERATIONS), self.number(), 0
        if operation in (0x60, 0x70, 0xC0):
            number = self.random.randrange(32 if kind == 4 else 64)
        if operation in (0x30, 0x90):
            number, off = number or 1, self.random.choice((0, 1))
        if operation == 0xB0 and by_register:
            off = self.random.choice((0, 8, 16) if kind == 4 else (0, 8, 16, 32))
        imm = 0 if by_register else number
        return instruction(operation | kind | by_register, dst, src if by_register else 0, off, imm)

    def one(self) -> bytes:
        pick = self.random
        dst, src, word = pick.randrange(10), pick.randrange(10), -8 * pick.randint(1, 8)
        kind, by_register = pick.choice((4, 7)), pick.choice((0, 8))
        choices = (
            lambda: instruction(0x80 | kind, dst, 0, 0, 0),
            lambda: instruction(0xD0 | pick.choice((4, 12, 7)), dst, 0, 0, pick.choice((16, 32, 64))),
            lambda: instruction(pick.choice((0x61, 0x69, 0x71, 0x79, 0x81, 0x89, 0x91)), dst, 10, word, 0),
            lambda: instruction(pick.choice((0x63, 0x6B, 0x73, 0x7B)), 10, src, word, 0),
            lambda: instruction(pick.choice((0xC3, 0xDB)), 10, src, word, pick.choice(ATOMICS)),
            lambda: instruction(pick.choice((0x62, 0x6A, 0x72, 0x7A)), 10, 0, word, self.number()),
            lambda: instruction(
                pick.choice(JUMPS) | pick.choice((5, 6)) | by_register,
                dst,
                src if by_register else 0,
                pick.randint(0, 3),
                0 if by_register else self.number(),
            ),
        )
        if pick.random() < 0.6:
            return self.arithmetic(dst, src, kind, by_register)
        return pick.choice(choices)()

    def program(self) -> bytes:
        """One program; its result tells of every register and word."""
        parts = []
        for register in range(10):
            value = self.random.choice(
                (self.random.getrandbits(64), self.random.getrandbits(32), self.number() % 2**64)
            )
            parts.append(
                struct.pack("<BBhIBBhI", 0x18, register, 0, value & 0xFFFFFFFF, 0, 0, 0, value >> 32)
            )
        parts += [instruction(0x7B, 10, self.random.randrange(10), -8 * (word + 1), 0) for word in range(8)]
        parts += [self.one() for _ in range(BODY)]
        parts += [instruction(0xB7, 6, 0, 0, 0)] * 4  # where the last jumps land
        for register in range(1, 10):
            parts += [instruction(0x27, 0, 0, 0, 31), instruction(0xAF, 0, register, 0, 0)]
        for word in range(8):
            parts += [
                instruction(0x79, 1, 10, -8 * (word + 1), 0),
                instruction(0x27, 0, 0, 0, 31),
                instruction(0xAF, 0, 1, 0, 0),
            ]
        parts += [
            instruction(0xBF, 1, 0, 0, 0),
            instruction(0x77, 1, 0, 0, 32),
            instruction(0xAF, 0, 1, 0, 0),
        ]
        return b"".join([*parts, instruction(0x95, 0, 0, 0, 0)])


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes.ljust(144, b"\0"), 144)
    result = libc.syscall(BPF, command, buffer, 144)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result, buffer.raw


def in_kernel(program: bytes) -> int | None:
    """What the kernel's program returns; None where its verifier refuses the program."""
    code = ctypes.create_string_buffer(program, len(program))
    licence, packet = ctypes.create_string_buffer(b"GPL"), ctypes.create_string_buffer(64)
    given = (SOCKET_FILTER, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence))
    try:
        fd, _ = bpf(PROG_LOAD, struct.pack("<IIQQ", *given))
    except PermissionError:
        pytest.skip("loading BPF programs needs root")
    except OSError:
        return None
    try:
        _, answer = bpf(TEST_RUN, struct.pack("<IIIIQQII", fd, 0, 64, 0, ctypes.addressof(packet), 0, 1, 0))
    finally:
        os.close(fd)
    return int(struct.unpack_from("<I", answer, 4)[0])


@pytest.fixture(scope="module")
def programs() -> list[tuple[bytes, int]]:
    """Programs, and what the kernel makes of them."""
    if platform.machine() != "x86_64":
        pytest.skip("the system call's number is that of x86_64")
    generator, made, refused = Generator(SEED), [], 0
    while len(made) < PROGRAMS and refused < PROGRAMS:
        program = generator.program()
        answer = in_kernel(program)
        if answer is None:
            refused += 1
        else:
            made.append((program, answer))
    if len(made) < PROGRAMS:
        pytest.skip("this kernel refuses these instructions: they need Linux 6.6")
    return made


def translated(codes: list[bytes]) -> Translation:
    kernel = KernelTypes("none", "", EMPTY_BTF)
    object_ = read_object(
        write_object([(f"p{number}", code) for number, code in enumerate(codes)]), "jit", kernel
    )
    resolved = resolve(object_, kernel.types, mirror())
    places = list(range(len(codes)))
    operations = Operations("jit", "jit", {f"p{number}": number for number in places}, {}, [])
    return Translation(object_, operations, resolved, "none", "0", {}, places)


def different(description: CObject, programs: list[tuple[bytes, int]], folder: Path) -> int:
    """How many programs return something else than in the kernel."""
    machine = Machine(description, {}, folder)
    answers = [machine.run(number) & 0xFFFFFFFF for number in range(len(programs))]
    assert machine.trap == (0, 0)
    return sum(answer != wanted for answer, (_, wanted) in zip(answers, programs, strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jit")


def test_the_interpreter_computes_what_the_kernel_does(programs, folder: Path) -> None:
    memory = Memory(translated([code for code, _ in programs]))
    assert different(memory.object, programs, folder) == 0


def test_translated_code_computes_what_the_kernel_does(programs, folder: Path) -> None:
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("no C compiler")
    source = source_of(translated([code for code, _ in programs]))
    library = ctypes.CDLL(str(make_library(source, "0", compiler, coverage=False, folder=folder / "right")))
    assert different(CObject.in_dll(library, "scx_object"), programs, folder) == 0
    assert len({wanted for _, wanted in programs}) > PROGRAMS * 0.99


@pytest.mark.parametrize(
    ("wrong", "right"), [(0x90, 0x30), (0xC0, 0x70)], ids=["mod as div", "arithmetic shift as logical"]
)
def test_a_wrong_operation_is_found(programs, folder: Path, wrong: int, right: int) -> None:
    """The negative control: an operation that is another one everywhere changes many results."""
    translation = translated([code for code, _ in programs])
    for code in translation.resolved.code:
        for one in code:
            if one.kind in (4, 7) and one.code & 0xF0 == right and not one.is_own:
                one.code = one.code & 0x0F | wrong
    assert different(Memory(replace(translation)).object, programs, folder) > PROGRAMS // 20

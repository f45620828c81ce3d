"""How is a BPF instruction made up? Documentation/bpf/standardization in the kernel has the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schedtuna.sim.bpf.abi import OWN_CALL, OWN_CALL_LOCAL, OWN_SYMBOL, OWN_UNKNOWN

LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
LOAD_64: Final = 0x18  # two slots
EXIT, CALL, JUMP_ALWAYS, JUMP_ALWAYS_LONG, MAY_GOTO = 0x95, 0x85, 0x05, 0x06, 0xE5
REGISTER: Final = 0x08  # the second operand is a register
SIZES: Final = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
SIZE_CODES: Final = {size: code for code, size in SIZES.items()}
MODE_MEM, MODE_MEMSX, MODE_ATOMIC = 0x60, 0x80, 0xC0
MOV, NEG, END = 0xB0, 0x80, 0xD0
DIV, MOD = 0x30, 0x90
BINARY: Final = {0x00: "+", 0x10: "-", 0x20: "*", 0x40: "|", 0x50: "&", 0xA0: "^"}
SHIFTS: Final = {0x60: "<<", 0x70: ">>", 0xC0: ">>"}
ARITHMETIC_SHIFT: Final = 0xC0
# Jump -> (C's operator, whether signed)
COMPARISONS: Final = {
    0x10: ("==", False), 0x20: (">", False), 0x30: (">=", False), 0x40: ("&", False), 0x50: ("!=", False),
    0x60: (">", True), 0x70: (">=", True), 0xA0: ("<", False), 0xB0: ("<=", False), 0xC0: ("<", True),
    0xD0: ("<=", True),
}  # fmt: skip
ADDRESS_SPACE_CAST: Final = 1  # `off` of a MOV
SIGN_EXTENDING: Final = (8, 16, 32)
FETCH: Final = 0x01
XCHG, CMPXCHG, LOAD_ACQUIRE, STORE_RELEASE = 0xE1, 0xF1, 0x100, 0x110
ATOMIC_OPERATORS: Final = {0x00: "+", 0x40: "|", 0x50: "&", 0xA0: "^"}
U64: Final = (1 << 64) - 1


@dataclass(slots=True)
class Instruction:
    """One instruction with all of it resolved: struct scx_instruction.

    Attributes:
        code: BPF's, or one of abi.OWN_*.
        dst: Register.
        src: Register.
        off: Offset of an access, in bytes; of a jump, in instructions from the next one.
        imm: Sign-extended, as 64 bits without sign.
        note: What it means, for people.
        fills: Whether it is only the second slot of the one before.
    """

    code: int
    dst: int
    src: int
    off: int
    imm: int
    note: str = ""
    fills: bool = False

    @property
    def kind(self) -> int:
        """Its class: LD, ALU, ..."""
        return self.code & 7

    @property
    def is_own(self) -> bool:
        """Whether it is none of BPF's."""
        return self.code in (OWN_CALL, OWN_CALL_LOCAL, OWN_SYMBOL, OWN_UNKNOWN)

    @property
    def is_jump(self) -> bool:
        """Whether it may go elsewhere in its function."""
        return self.kind in (JMP, JMP32) and not self.is_own and self.code != EXIT

    @property
    def falls_through(self) -> bool:
        """Whether the next instruction may follow."""
        return self.code not in (EXIT, JUMP_ALWAYS, OWN_UNKNOWN)


def is_known(one: Instruction) -> bool:
    """Whether the instruction set has it, with these operands; addresses and targets are not looked at."""
    kind, operation = one.kind, one.code & 0xF0
    if one.is_own or one.code in (EXIT, JUMP_ALWAYS, MAY_GOTO, LOAD_64):
        return True
    if one.dst > 10 or one.src > 10:
        return False
    if kind in (ALU, ALU64):
        return _is_known_alu(one, operation, wide=kind == ALU64)
    if kind in (JMP, JMP32):
        return operation in COMPARISONS
    mode = one.code & 0xE0
    if kind == LDX:
        return mode == MODE_MEM or (mode == MODE_MEMSX and one.code & 0x18 != 0x18)
    if kind == STX and mode == MODE_ATOMIC:
        return _is_known_atomic(one)
    return kind in (ST, STX) and mode == MODE_MEM


def _is_known_alu(one: Instruction, operation: int, *, wide: bool) -> bool:
    if one.dst == 10:
        return False
    if operation == END:
        return one.imm in (16, 32, 64) and not (wide and one.code & REGISTER)
    if operation == MOV:
        extends = one.off in SIGN_EXTENDING and one.code & REGISTER and (wide or one.off < 32)
        return (
            one.off == 0
            or bool(extends)
            or (wide and bool(one.code & REGISTER) and one.off == ADDRESS_SPACE_CAST)
        )
    if operation in (DIV, MOD):
        return one.off in (0, 1)
    return one.off == 0 and (
        operation in BINARY or operation in SHIFTS or (operation == NEG and not one.code & REGISTER)
    )


def _is_known_atomic(one: Instruction) -> bool:
    if one.imm in (LOAD_ACQUIRE, STORE_RELEASE):
        return True
    if SIZES[one.code & 0x18] < 4:
        return False
    return one.imm in (XCHG, CMPXCHG) or one.imm & ~FETCH in ATOMIC_OPERATORS

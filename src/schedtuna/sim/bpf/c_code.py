"""What does a BPF instruction say in C? One or a few lines each; native/scx/scx_code.h has the macros."""

from __future__ import annotations

import re
from collections.abc import Callable

from schedtuna.sim.bpf.abi import OWN_CALL, OWN_CALL_LOCAL, OWN_SYMBOL, OWN_UNKNOWN
from schedtuna.sim.bpf.instructions import (
    ALU64,
    ARITHMETIC_SHIFT,
    ATOMIC_OPERATORS,
    BINARY,
    CMPXCHG,
    COMPARISONS,
    DIV,
    END,
    EXIT,
    FETCH,
    JMP,
    JMP32,
    JUMP_ALWAYS,
    LDX,
    LOAD_64,
    LOAD_ACQUIRE,
    MAY_GOTO,
    MOD,
    MODE_ATOMIC,
    MODE_MEMSX,
    MOV,
    NEG,
    REGISTER,
    SHIFTS,
    SIGN_EXTENDING,
    SIZES,
    STORE_RELEASE,
    STX,
    XCHG,
    Instruction,
)

_ODD = re.compile(r"[^\w .,:+()-]", re.ASCII)
_FRAME = 10  # the register that holds the frame's end
_FRAME_BYTES = 512
_CLOBBER = "r1 = r2 = r3 = r4 = r5 = 0;"


def function_code(number: int, name: str, code: list[Instruction], blocks: dict[int, int]) -> str:
    """Return one function in C.

    Args:
        number: Its index in `functions`.
        name: What the object calls it, for a comment.
        code: Its instructions.
        blocks: Place -> index in `blocks` of what begins there.
    """
    targets = {place + 1 + one.off for place, one in enumerate(code) if one.is_jump}
    lines = [
        f"#define SCX_THIS {number}",
        f"static uint64_t f{number}(SCX_PARAMETERS){_comment(name)}",
        "{",
        "\tSCX_ENTER;",
    ]
    for place, one in enumerate(code):
        if place in targets:
            lines.append(f"L{place}:;")
        if place in blocks:
            lines.append(f"\tSCX_BLOCK({blocks[place]});")
        if not one.fills:
            lines += [f"\t{line}" for line in _lines(place, one)]
    lines += [
        "\tSCX_TRAP(REFERENCE, " + f"{len(code)}, 0);",
        "trapped:",
        "\tSCX_LEAVE(0);",
        "}",
        "#undef SCX_THIS",
        "",
    ]
    return "\n".join(lines)


def _lines(place: int, one: Instruction) -> list[str]:
    if one.is_own:
        return _own(place, one)
    if one.code == EXIT:
        return ["SCX_LEAVE(r0);"]
    if one.code == LOAD_64:
        return [f"r{one.dst} = {one.imm:#x}ull;{_comment(one.note)}"]
    return [_BY_CLASS[one.kind](place, one)]


def in_comment(text: str) -> str:
    """Text of an object as a C comment takes it: names are anybody's, and none may end the comment."""
    return _ODD.sub("?", text)


def _comment(note: str) -> str:
    return f" /* {in_comment(note)} */" if note else ""


def _own(place: int, one: Instruction) -> list[str]:
    given = [f"r{k}" if one.code == OWN_CALL_LOCAL or k <= one.off else "0" for k in range(1, 6)]
    arguments = ", ".join(given)
    return {
        OWN_UNKNOWN: lambda: [f"SCX_TRAP(UNKNOWN, {place}, {one.imm});{_comment(one.note)}"],
        OWN_SYMBOL: lambda: [f"r{one.dst} = I->symbols[{one.imm}];{_comment(one.note)}"],
        OWN_CALL: lambda: [
            f"if (SCX_UNLIKELY(!targets[{one.imm}]))",
            f"\tSCX_TRAP(CALL, {place}, {one.imm});",
            f"r0 = targets[{one.imm}](I, {arguments});{_comment(one.note)}",
            _CLOBBER,
        ],
        OWN_CALL_LOCAL: lambda: [f"r0 = f{one.imm}(I, {arguments});{_comment(one.note)}", _CLOBBER],
    }[one.code]()


def _type(size: int, *, signed: bool = False) -> str:
    return f"{'' if signed else 'u'}int{8 * size}_t"


def _second(one: Instruction, type_: str) -> str:
    return f"({type_})r{one.src}" if one.code & REGISTER else f"({type_}){one.imm:#x}ull"


def _alu(place: int, one: Instruction) -> str:  # noqa: ARG001 - all classes are called alike
    wide, operation, target = one.kind == ALU64, one.code & 0xF0, f"r{one.dst}"
    type_, signed = ("uint64_t", "int64_t") if wide else ("uint32_t", "int32_t")
    first, second = f"({type_}){target}", _second(one, type_)
    if operation == MOV:
        if one.off in SIGN_EXTENDING:
            return f"{target} = ({type_})({signed})(int{one.off}_t)r{one.src};"
        return f"{target} = {second};"
    if operation == NEG:
        return f"{target} = ({type_})(0 - {first});"
    if operation == END:
        swaps = wide or one.code & REGISTER
        value = f"(uint{one.imm}_t){target}"
        return f"{target} = {f'__builtin_bswap{one.imm}({value})' if swaps else value};"
    if operation in SHIFTS:
        mask = 63 if wide else 31
        shifted = f"({signed}){target}" if operation == ARITHMETIC_SHIFT else first
        return f"{target} = ({type_})({shifted} {SHIFTS[operation]} ({second} & {mask}));"
    if operation in (DIV, MOD):
        what = ("s" if one.off else "") + ("div" if operation == DIV else "mod") + ("64" if wide else "32")
        return f"{target} = scx_{what}({first}, {second});"
    return f"{target} = ({type_})({first} {BINARY[operation]} {second});"


def _in_frame(register: int, off: int, size: int) -> bool:
    """Whether an access is known to be inside of the function's frame."""
    return register == _FRAME and -_FRAME_BYTES <= off <= -size


def _load(place: int, one: Instruction) -> str:
    size, signed = SIZES[one.code & 0x18], one.code & 0xE0 == MODE_MEMSX
    type_, extend = _type(size, signed=signed), "int64_t" if signed else "uint64_t"
    if _in_frame(one.src, one.off, size):
        return f"r{one.dst} = (uint64_t)({extend})SCX_READ({type_}, F - {-one.off});"
    return f"SCX_LOAD({place}, r{one.dst}, {type_}, {extend}, {_address(one.src, one.off)});"


def _address(register: int, off: int) -> str:
    return f"r{register} + {off}" if off >= 0 else f"r{register} - {-off}"


def _store(place: int, one: Instruction) -> str:
    size = SIZES[one.code & 0x18]
    if one.kind == STX and one.code & 0xE0 == MODE_ATOMIC:
        return _atomic(place, one, size)
    value = f"r{one.src}" if one.kind == STX else f"{one.imm:#x}ull"
    if _in_frame(one.dst, one.off, size):
        return f"SCX_WRITE({_type(size)}, F - {-one.off}, {value});"
    return f"SCX_STORE({place}, {_type(size)}, {_address(one.dst, one.off)}, {value});"


def _atomic(place: int, one: Instruction, size: int) -> str:
    type_, address, source = _type(size), _address(one.dst, one.off), f"r{one.src}"
    if one.imm == LOAD_ACQUIRE:
        return f"SCX_LOAD({place}, r{one.dst}, {type_}, uint64_t, {_address(one.src, one.off)});"
    if one.imm == STORE_RELEASE:
        return f"SCX_STORE({place}, {type_}, {address}, {source});"
    write = f"SCX_WRITE({type_}, B + at_, {{}})"
    if one.imm == XCHG:
        update = f"{write.format(source)}; {source} = old"
    elif one.imm == CMPXCHG:
        update = f"if (old == ({type_})r0) {write.format(source)}; r0 = old"
    else:
        update = write.format(f"old {ATOMIC_OPERATORS[one.imm & ~FETCH]} {source}")
        update += f"; {source} = old" if one.imm & FETCH else ""
    return f"SCX_ATOMIC({place}, {type_}, {address}, {update});"


def _jump(place: int, one: Instruction) -> str:
    target = place + 1 + one.off
    go = f"goto L{target};" if one.off >= 0 else f"{{ SCX_BURN({place}); goto L{target}; }}"
    if one.code == JUMP_ALWAYS:
        return go
    if one.code == MAY_GOTO:
        return f"if (may++ >= SCX_MAY_GOTO_LIMIT) {go}"
    operator, signed = COMPARISONS[one.code & 0xF0]
    type_ = _type(4 if one.kind == JMP32 else 8, signed=signed)
    return f"if (({type_})r{one.dst} {operator} {_second(one, type_)}) {go}"


_BY_CLASS: dict[int, Callable[[int, Instruction], str]] = {
    LDX: _load,
    2: _store,
    STX: _store,
    4: _alu,
    JMP: _jump,
    JMP32: _jump,
    ALU64: _alu,
}

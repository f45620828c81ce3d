"""Which instructions can run at all, when the kernel is as it is? Answered as the kernel's verifier does.

A scheduler asks at run time what the kernel has (does this field exist, is that function there) and takes
one way or the other. The questions are numbers by now: a jump that compares known numbers goes one way,
and what lies on the other is not what the scheduler needs. Only registers are followed, not memory: what
an object's settings decide counts as open.
"""

from __future__ import annotations

from collections.abc import Iterator

from schedtuna.sim.bpf.abi import FUNCTION_REFERENCE, OWN_CALL, OWN_CALL_LOCAL, OWN_SYMBOL
from schedtuna.sim.bpf.instructions import (
    ALU,
    ALU64,
    BINARY,
    COMPARISONS,
    JMP,
    JMP32,
    JUMP_ALWAYS,
    LDX,
    LOAD_64,
    MAY_GOTO,
    MOV,
    REGISTER,
    STX,
    U64,
    Instruction,
)

_REGISTERS = 11
_SOMEWHERE = -1  # a value that is not known, but not 0: the address of a variable of the kernel
_State = tuple[int | None, ...]  # by register: its value where it is known


def reachable_instructions(code: list[Instruction]) -> set[int]:
    """Places of a function's instructions that can run."""
    states: dict[int, _State] = {0: (None,) * _REGISTERS} if code else {}
    waiting = list(states)
    while waiting:
        place = waiting.pop()
        for target, state in _successors(code, place, states[place]):
            if not 0 <= target < len(code):
                continue
            before = states.get(target)
            merged = state if before is None else _merge(before, state)
            if merged != before:
                states[target] = merged
                waiting.append(target)
    return set(states)


def _merge(one: _State, other: _State) -> _State:
    return tuple(a if a == b else None for a, b in zip(one, other, strict=True))


def _successors(code: list[Instruction], place: int, state: _State) -> Iterator[tuple[int, _State]]:
    one = code[place]
    if one.is_jump:
        taken = _is_taken(one, state)
        if taken is not True:
            yield place + 1, state
        if taken is not False:
            yield place + 1 + one.off, state
    elif one.falls_through:
        yield place + _slots(code, place), _after(one, state)


def _slots(code: list[Instruction], place: int) -> int:
    return 2 if place + 1 < len(code) and code[place + 1].fills else 1


def _after(one: Instruction, state: _State) -> _State:
    if one.code in (OWN_CALL, OWN_CALL_LOCAL):
        return (None,) * 6 + state[6:]
    values = list(state)
    if one.kind in (ALU, ALU64):
        values[one.dst] = _computed(one, state)
    elif one.code == LOAD_64:
        values[one.dst] = one.imm
    elif one.code == OWN_SYMBOL:
        values[one.dst] = _SOMEWHERE
    elif one.kind == LDX:
        values[one.dst] = None
    elif one.kind == STX and one.code & 0xE0 != 0x60:
        values[one.dst] = values[one.src] = values[0] = None
    elif one.kind == 0:
        values[one.dst] = None
    return tuple(values)


def _computed(one: Instruction, state: _State) -> int | None:
    """The result where it is known: of moves and of what compilers combine flags with."""
    operation = one.code & 0xF0
    second = state[one.src] if one.code & REGISTER else one.imm
    first = state[one.dst]
    mask = U64 if one.kind == ALU64 else 0xFFFFFFFF
    if second is None or one.off:
        return None
    if operation == MOV:
        if second == _SOMEWHERE:
            return second if one.kind == ALU64 else None
        return second & mask
    if first is None or _SOMEWHERE in (first, second) or operation not in BINARY:
        return None
    results = {
        "+": first + second,
        "-": first - second,
        "*": first * second,
        "|": first | second,
        "&": first & second,
        "^": first ^ second,
    }
    return results[BINARY[operation]] & mask


def _is_taken(one: Instruction, state: _State) -> bool | None:
    """Whether a jump is taken; None where either may be."""
    if one.code == JUMP_ALWAYS:
        return True
    first, second = state[one.dst], state[one.src] if one.code & REGISTER else one.imm
    if one.code == MAY_GOTO or first is None or second is None:
        return None
    operator, is_signed = COMPARISONS[one.code & 0xF0]
    if _SOMEWHERE in (first, second):
        is_zero_asked = one.kind == JMP and 0 in (first, second) and operator in ("==", "!=")
        return operator == "!=" if is_zero_asked else None
    bits = 32 if one.kind == JMP32 else 64
    first, second = (_as(value, bits, signed=is_signed) for value in (first, second))
    return {
        "==": first == second,
        "!=": first != second,
        ">": first > second,
        ">=": first >= second,
        "<": first < second,
        "<=": first <= second,
        "&": bool(first & second),
    }[operator]


def _as(value: int, bits: int, *, signed: bool) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def reachable_functions(code: list[list[Instruction]], roots: list[int]) -> dict[int, set[int]]:
    """Function -> places that can run, of what can be reached from some; references count as calls."""
    found: dict[int, set[int]] = {}
    waiting = list(roots)
    while waiting:
        function = waiting.pop()
        if function in found:
            continue
        found[function] = reachable_instructions(code[function])
        for place in found[function]:
            one = code[function][place]
            if one.code == OWN_CALL_LOCAL:
                waiting.append(one.imm)
            elif one.code == LOAD_64 and FUNCTION_REFERENCE <= one.imm < FUNCTION_REFERENCE + len(code):
                waiting.append(one.imm - FUNCTION_REFERENCE)
    return found

"""What is a translated scheduler in C? One file that a C compiler makes into a shared library."""

from __future__ import annotations

from collections.abc import Iterable

from schedtuna.sim.bpf.abi import ABI, ROWS
from schedtuna.sim.bpf.c_code import function_code, in_comment
from schedtuna.sim.bpf.rows import ObjectRows, rows_of
from schedtuna.sim.bpf.translation import Translation

_HEAD = """/* Written by schedtuna from the BPF object of {name}; for the kernel {kernel}. */
#include "scx_code.h"

#if SCX_OBJECT_ABI != {abi}
#error "the headers are of another version"
#endif
static scx_code targets[{nr_targets}];
"""
_NUMBERED = [name for name in ROWS if name != "targets"]


def source_of(translation: Translation) -> str:
    """Return a translated scheduler's C."""
    rows, names = rows_of(translation), translation.object.functions
    starts: dict[int, dict[int, int]] = {function: {} for function in translation.wanted}
    for number, block in enumerate(translation.blocks):
        starts[block.function][block.first] = number
    head = _HEAD.format(
        name=in_comment(translation.operations.name),
        kernel=in_comment(translation.kernel),
        abi=ABI,
        nr_targets=max(1, len(rows.calls)),
    )
    prototypes = "".join(f"static uint64_t f{number}(SCX_PARAMETERS);\n" for number in translation.wanted)
    bodies = [
        function_code(number, names[number].name, translation.resolved.code[number], starts[number])
        for number in translation.wanted
    ]
    return "\n".join(
        [head, prototypes, *bodies, _tables(rows, set(translation.wanted)), _description(translation, rows)]
    )


def _string(text: str) -> str:
    """A C string; what is not plain is an octal escape, for hexadecimal ones have no end."""
    plain = "".join(
        c if " " <= c <= "~" and c not in '"\\?' else "".join(f"\\{b:03o}" for b in c.encode()) for c in text
    )
    return f'"{plain}"'


def _cell(value: object) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return str(int(value))
    return f"{value}ull" if isinstance(value, int) and value >= 1 << 31 else str(value)


def _table(type_: str, name: str, rows: Iterable[Iterable[object]]) -> str:
    cells = [f"\t{{{', '.join(map(_cell, row))}}}," for row in rows]
    return f"static const struct {type_} {name}[] = {{\n" + "\n".join([*cells, "\t{0},"]) + "\n};\n"


def _tables(rows: ObjectRows, wanted: set[int]) -> str:
    parts = []
    for number, section in enumerate(rows.sections):
        if section.data:
            parts.append(
                f"static const uint8_t section_{number}[] = {{{','.join(map(str, section.data))}}};\n"
            )
    functions = [
        f"\t{{{_string(one.name)}, {_string(one.section)}, {f'f{number}' if number in wanted else '0'}, 0, "
        f"{one.count}, {one.reachable}}},"
        for number, one in enumerate(rows.functions)
    ]
    sections = [
        f"\t{{{_string(one.name)}, {f'section_{number}' if one.data else '0'}, "
        f"{one.address}, {one.size}, {one.room}}},"
        for number, one in enumerate(rows.sections)
    ]
    for type_, name, lines in (
        ("scx_function", "functions", functions),
        ("scx_section", "sections", sections),
    ):
        parts.append(
            f"static const struct {type_} {name}[] = {{\n" + "\n".join([*lines, "\t{0},"]) + "\n};\n"
        )
    plain = (
        ("scx_member", "members", rows.members),
        ("scx_call", "calls", rows.calls),
        ("scx_global", "globals", rows.globals),
        ("scx_map", "maps", rows.maps),
        ("scx_map_slot", "map_slots", rows.map_slots),
        ("scx_symbol", "symbols", rows.symbols),
        ("scx_local_type", "local_types", rows.local_types),
        ("scx_block", "blocks", rows.blocks),
    )
    parts += [_table(type_, name, content) for type_, name, content in plain]
    unknowns = "".join(f"\t{_string(one)},\n" for one in rows.unknowns)
    parts.append(f"static const char *const unknowns[] = {{\n{unknowns}\t0,\n}};\n")
    return "\n".join(parts)


def _description(translation: Translation, rows: ObjectRows) -> str:
    lines = [
        "\t.abi = SCX_OBJECT_ABI,",
        "\t.bytes = sizeof(struct scx_object),",
        f"\t.name = {_string(translation.operations.name)},",
        f"\t.digest = {_string(translation.digest)},",
        f"\t.kernel = {_string(translation.kernel)},",
        f"\t.image_end = {translation.object.image.end},",
        "\t.targets = targets,",
        *(f"\t.{name} = {name},\n\t.nr_{name} = {len(getattr(rows, name))}," for name in _NUMBERED),
    ]
    text = "\n".join(lines)
    return f'__attribute__((visibility("default"))) const struct scx_object scx_object = {{\n{text}\n}};\n'

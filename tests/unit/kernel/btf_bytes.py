"""BTF of made-up kernels, in bytes (Documentation/bpf/btf.rst)."""

import struct

INT, PTR, STRUCT, CONST, FUNC, FUNC_PROTO = 1, 2, 4, 10, 12, 13


def header(types, strings):
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))


def kernel_functions(parameters):
    """BTF with functions: name -> names of the structures that its parameters point to; "" is an integer."""
    structures = sorted({name for names in parameters.values() for name in names if name})
    texts = ["int", "parameter", *structures, *parameters]
    strings = b"\0" + b"".join(text.encode() + b"\0" for text in texts)
    place = {text: strings.index(b"\0" + text.encode() + b"\0") + 1 for text in texts}
    types, ids = [struct.pack("<IIII", place["int"], INT << 24, 4, 32)], {"": 1}
    for name in structures:
        first = len(types) + 1
        types.append(struct.pack("<III", place[name], STRUCT << 24, 0))
        types.append(struct.pack("<III", 0, CONST << 24, first))
        types.append(struct.pack("<III", 0, PTR << 24, first + 1))
        ids[name] = first + 2
    for name, pointees in parameters.items():
        members = b"".join(struct.pack("<II", place["parameter"], ids[pointee]) for pointee in pointees)
        types.append(struct.pack("<III", 0, FUNC_PROTO << 24 | len(pointees), 1) + members)
        types.append(struct.pack("<III", place[name], FUNC << 24 | 1, len(types)))
    joined = b"".join(types)
    return header(joined, strings) + joined + strings


WRONG = {
    "scx_bpf_kick_cpu": ("", "bpf_prog_aux"),
    "scx_bpf_dsq_insert": ("task_struct", "", ""),
    "scx_bpf_dsq_insert_impl": ("task_struct", "", "", "bpf_prog_aux"),
    "scx_bpf_now": (),
    "scx_bpf_task_running": ("bpf_prog_aux", "task_struct"),
    "bpf_prog_load": ("bpf_prog_aux",),
}
RIGHT = WRONG | {"scx_bpf_kick_cpu": ("",), "scx_bpf_kick_cpu_impl": ("", "bpf_prog_aux")}

"""A model for BPF: its table, the program of its class, and what other BPF programs need to decide by it."""

from __future__ import annotations

from schedtuna.errors import UsageError
from schedtuna.export.c_text import identifier
from schedtuna.model.kernel.classes import KernelClass, class_of
from schedtuna.model.kernel.tables import pack
from schedtuna.model.model import DecisionModel
from schedtuna.resources import resource_path

_HEADERS = "native/model"
_README = """# {title}, version {version}, for BPF

| file | holds |
|---|---|
| `{name}.table` | the model: the only value of an inner map of `models` |
| `{name}.bpf.h` | the class `{geometry}`, for a BPF program that decides |
| `{object}.bpf.o` | ready programs that run the model on rows, to check and measure it |
| `model.h`, `words.bpf.h`, `models.bpf.h`, `{family}.bpf.h` | what `{name}.bpf.h` includes |

In a BPF program of your own, compiled with `-I` for this folder and libbpf's headers:

    #include "vmlinux.h"
    #include "{name}.bpf.h"

    const struct model_table *table = current_model();
    struct model_decision decision;
    __u64 bins[MODEL_INPUTS];

    if (table) {{ /* NULL until user space has put one in */
            quantise(&table->head, values, bins); /* __s64 values[MODEL_INPUTS] */
            model_run(table, bins, &decision, NULL); /* decision.logits */
    }}

Values, in this order: {inputs}.
{labels}

User space makes an array of one element (key 4 bytes, value {nr_bytes} bytes), writes the table into it
and puts it into `models` at key 0: from then on it decides. Another takes its place the same way. In Python:

    from schedtuna.model.kernel.loaded import put_table
    put_table(models_fd, open("{name}.table", "rb").read())

`schedtuna model check` says whether this kernel computes it as it should, and what a decision costs.
It needs Linux 6.9 or newer (may_goto).
"""


def bpf_files(model: DecisionModel, name: str | None, small: bool) -> dict[str, bytes]:
    """Return what is exported, by file name.

    Raises:
        ModelError: No class takes the model.
        UnavailableError: This installation was built without BPF.
        UsageError: `small` is asked for, which is of C alone.
    """
    if small:
        raise UsageError("--small is of --to c and native", hint="leave it out: a BPF table has one size")
    geometry, name = class_of(model), name or identifier(model.name)
    table = pack(model, geometry)
    headers = ("model.h", "words.bpf.h", "models.bpf.h", f"{geometry.family}.bpf.h")
    files = {
        f"{name}.md": _readme(model, geometry, name, len(table)).encode(),
        f"{name}.table": table,
        f"{name}.bpf.h": class_header(geometry).encode(),
        f"{geometry.object_name}.bpf.o": resource_path(f"native/{geometry.object_name}.bpf.o").read_bytes(),
    }
    return files | {header: resource_path(f"{_HEADERS}/{header}").read_bytes() for header in headers}


def class_header(geometry: KernelClass) -> str:
    """Return a header that gives a BPF program a class's executor and its map of maps."""
    family = geometry.family
    lines = [f"#define {family.upper()}_{name} {value}" for name, value in geometry.defines().items()]
    return "\n".join(
        [
            "/* SPDX-License-Identifier: GPL-2.0 */",
            f"/* The class {geometry.name} of {family}. */",
            *lines,
            f'#include "{family}.bpf.h"',
            "",
            f"#define model_table model_{family}",
            f"#define model_run run_{family}",
            '#include "models.bpf.h"',
            "",
        ]
    )


def _readme(model: DecisionModel, geometry: KernelClass, name: str, nr_bytes: int) -> str:
    inputs = ", ".join(f"`{one.name}`" for one in model.inputs)
    if model.core.nr_logits == 1:
        labels = f"logits[0] > 0 is {model.labels[1]}, else {model.labels[0]}."
    else:
        labels = "The greatest logit decides: " + ", ".join(model.labels) + "."
    return _README.format(
        title=model.name,
        version=model.version,
        name=name,
        geometry=geometry.name,
        object=geometry.object_name,
        family=geometry.family,
        inputs=inputs,
        labels=labels,
        nr_bytes=nr_bytes,
    )

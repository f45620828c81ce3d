"""Can schedulers in BPF call the kernel's functions for them, or is the kernel's BTF wrong about these?

Since 6.19 the kernel itself gives some of them a last argument, a ``struct bpf_prog_aux *``, and their
prototypes in BTF must not have it (KF_IMPLICIT_ARGS, Documentation/bpf/kfuncs.rst). Where the kernel was
built with a pahole before 1.26, some have. Then whatever calls these is refused: "func_proto [...]
incompatible with vmlinux".
"""

from __future__ import annotations

from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.kernel.kernel_btf import KernelBtf

_PREFIX = "scx_bpf_"
_HIDDEN = "bpf_prog_aux"
_IMPLEMENTATION = "_impl"  # the kernel's own name of a function, with the argument
# What libbpf says of a program that calls such a function; what scx's newer schedulers say.
_REFUSALS = ("incompatible with vmlinux", "malformed scx kfunc")
REMEDY = "use another kernel: a pahole before 1.26 wrote this one's BTF; schedtuna lab setup finds a better"


def is_refusal(log: str) -> bool:
    """Whether what a scheduler printed says that it called such a function."""
    return any(text in log for text in _REFUSALS)


def uncallable_kfuncs(btf: Path) -> list[str]:
    """Names of the sched_ext functions that no BPF program can call on this kernel.

    Args:
        btf: /sys/kernel/btf/vmlinux, or a vmlinux.

    Returns:
        Names, sorted; none where there is no BTF, or no sched_ext.
    """
    try:
        with KernelBtf(btf) as kernel:
            taking = kernel.functions_taking(_PREFIX, _HIDDEN)
    except UnavailableError:
        return []
    return [name for name in taking if not name.endswith(_IMPLEMENTATION)]

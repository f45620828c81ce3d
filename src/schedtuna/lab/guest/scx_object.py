"""Keeps the sched_ext scheduler of a bare BPF object in charge, as the programs of others do for theirs.

``scx_object.py OBJECT`` fills in what a scheduler's own program would: the kernel's constants that the
object leaves open, and the count of CPU hotplugs. Then it loads and attaches it, and stays until it is
told to end or the kernel has thrown the scheduler out. Beside the standard library it needs
`schedtuna.kernel`, which is copied into the guest with it.
"""

from __future__ import annotations

import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "python"))

from schedtuna.errors import SchedtunaError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.sched_ext import KERNELS_CONSTANT, find_operations

SYSFS = "/sys/kernel/sched_ext"
STOP = {signal.SIGINT, signal.SIGTERM}
LOOK_EVERY_S = 0.2
TOLD_WITHIN_S = 30.0  # from the kernel's decision to its call of the scheduler's `exit`


def fill_in(bpf: BpfObject, operations: str) -> None:
    """Set what the object expects of its loader (tools/sched_ext/include/scx/compat.h, enums.h)."""
    # It may have none, and so no section of them.
    constants = [name for name in bpf.btf.sections.get(".rodata", {}) if name.startswith(KERNELS_CONSTANT)]
    with KernelBtf() as kernel:
        # Those that this kernel lacks are 0: the object is to find out by itself.
        bpf.set_constants({name: kernel.enum_value(name[2:]) or 0 for name in constants})
    hotplug_seq = read(f"{SYSFS}/hotplug_seq")
    if "hotplug_seq" in bpf.btf.structs[bpf.operations()[operations]].offsets and hotplug_seq:
        bpf.member(operations, "hotplug_seq", 8)[:] = int(hotplug_seq).to_bytes(8, sys.byteorder)


def exit_line(bpf: BpfObject) -> str:
    """What the kernel has told the scheduler on its way out, in the words of scx's own loaders."""
    layout = bpf.btf.structs.get("user_exit_info")
    if layout is None or "uei" not in bpf.btf.sections.get(".data", {}):
        return "EXIT: the kernel does not say why to this object"
    # The kernel gives a scheduler up before it tells it why, and `kind` is what `exit` writes last.
    kind, deadline = layout.offsets["kind"], time.monotonic() + TOLD_WITHIN_S
    while (told := bpf.variable_bytes(".data", "uei"))[kind : kind + 4] == bytes(4):
        if time.monotonic() > deadline:
            return "EXIT: the kernel has not said why"
        time.sleep(LOOK_EVERY_S)
    reason, message = (
        told[layout.offsets[name] :].partition(b"\0")[0].decode(errors="replace")
        for name in ("reason", "msg")
    )
    return f"EXIT: {reason} ({message})" if message else f"EXIT: {reason}"


def is_in_charge(name: str) -> bool:
    """Whether the kernel still says so."""
    return (read(f"{SYSFS}/state"), read(f"{SYSFS}/root/ops")) == ("enabled", name)


def say(line: str) -> None:
    """Print for the log."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def read(path: str) -> str:
    """The text of a file; empty where there is none."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def run(path: str) -> int:
    """Keep it in charge; returns the exit code."""
    with open(path, "rb") as file:
        content = file.read()
    with BpfObject(os.path.basename(path), content=content) as bpf:
        operations, name = find_operations(bpf)
        fill_in(bpf, operations)
        bpf.load()
        bpf.attach_operations(operations)
        while not signal.sigpending() & STOP:
            if not is_in_charge(name):
                say(exit_line(bpf))
                return 1
            time.sleep(LOOK_EVERY_S)
        bpf.detach()
        say("EXIT: unregistered from user space")
    return 0


def main() -> int:
    """Run, and say why where it can't."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    os.environ["SCHEDTUNA_DEBUG"] = "1"  # the verifier's words are the reason
    try:
        return run(sys.argv[1])
    except SchedtunaError as error:
        for note in getattr(error, "__notes__", []):
            say(note)
        say(str(error))
        return 1
    except (LookupError, OverflowError) as error:  # a structure or constant that is not what it is called
        say(f"the object is laid out as no scheduler is: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())

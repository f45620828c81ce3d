"""The lab for tests: skips, saying why, where it is not set up."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.lab.build.examples import find_examples
from schedtuna.lab.store import Lab, read_lab
from schedtuna.lab.vm import BootedGuest
from schedtuna.machine.patience import Patience
from schedtuna.scheduler.probe import installed

# Quick to verify: each starts within seconds in an emulated guest.
LIGHT = ("scx_simple", "scx_bpfland", "scx_cosmos", "scx_flash", "scx_central", "scx_flatcg", "scx_rusty")


def lab_or_skip() -> Lab:
    try:
        return read_lab()
    except UnavailableError as error:
        pytest.skip(f"{error}; {error.hint}")


def await_that(guest: BootedGuest, condition: Callable[[], bool], what: str, *, within_s: float = 60) -> None:
    """Wait until something is so in a guest, which may get little of a CPU; fails if it never is.

    Whoever reads what a program has printed waits for its end first: until then there may be more.
    """
    patience = Patience(within_s, guest.cpu_s)
    while not condition():
        assert not patience.ended(), f"{what} did not come within {patience.passed_s():.0f} s"
        time.sleep(0.1)


def whole_log(guest: BootedGuest, pid: int) -> str:
    """Wait for the end of a program of the guest; returns all that it has printed."""
    await_that(guest, lambda: guest.status(pid) is not None, f"the end of process {pid}")
    return guest.log(pid)


def build_fifo(folder: Path, name: str, *definitions: str) -> Path:
    """Compile the tests' own scheduler with a name, and other definitions. Skips without clang."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("no clang")
    file = folder / f"{name}.bpf.o"
    options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter"]
    defined = [f"-D{text}" for text in (f'NAME="{name}"', *definitions)]
    source = Path(__file__).with_name("bpf") / "fifo.bpf.c"
    subprocess.run([clang, *options, *defined, "-c", source, "-o", file], check=True)
    return file


def light_schedulers(lab: Lab) -> dict[str, Path]:
    """Return the real schedulers that are quick to verify: installed ones and the lab's examples."""
    there = {**find_examples(lab.kernel()), **installed()}
    return {name: there[name] for name in LIGHT if name in there}


def schedulers_or_skip(lab: Lab, number: int, *, at_most: int = 0) -> dict[str, Path]:
    """Return so many of `light_schedulers`. Skips where there are fewer."""
    found = light_schedulers(lab)
    if len(found) < number:
        pytest.skip("too few sched_ext schedulers: `schedtuna lab setup --schedulers`, SCHEDTUNA_SCX_PATH")
    return dict(list(found.items())[: at_most or number])

"""The lab for tests: skips, saying why, where it is not set up."""

from pathlib import Path

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.lab.build.examples import find_examples
from schedtuna.lab.store import Lab, read_lab
from schedtuna.scheduler.probe import installed

# Quick to verify: each starts within seconds in an emulated guest.
LIGHT = ("scx_simple", "scx_bpfland", "scx_cosmos", "scx_flash", "scx_central", "scx_flatcg", "scx_rusty")


def lab_or_skip() -> Lab:
    try:
        return read_lab()
    except UnavailableError as error:
        pytest.skip(f"{error}; {error.hint}")


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

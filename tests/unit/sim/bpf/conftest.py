"""What the tests of the translation share: a kernel, a scheduler's object, and a way to run it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.sim.bpf.sources import KERNEL, SCHEDULER, compile_bpf

from schedtuna.sim.bpf.elf import Elf
from schedtuna.sim.bpf.kernel import KernelTypes


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scx-object")


@pytest.fixture(scope="session")
def kernel(work: Path) -> KernelTypes:
    elf = Elf(compile_bpf(work, "kernel", KERNEL), "kernel")
    number = elf.index(".BTF")
    assert number
    return KernelTypes("test", "7.3.4", elf.content(number), {"CONFIG_SMP": "y"})


@pytest.fixture(scope="session")
def scheduler(work: Path) -> bytes:
    return compile_bpf(work, "scheduler", SCHEDULER)

"""What a translated scheduler does: compiled and interpreted, against what its source says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.sim.bpf.machine import Machine
from tests.unit.sim.bpf.sources import SCHEDULER, compile_bpf

from schedtuna.sim.bpf.kernel import KernelTypes
from schedtuna.sim.bpf.load import ScxObject, load_object

LOAD, STORE, STACK, FUEL, CALL, UNKNOWN, REFERENCE = range(1, 8)
ELEMENTS = 4
U64 = (1 << 64) - 1


class Core:
    """What the scheduler calls, and what it called."""

    def __init__(self) -> None:
        self.inserted: list[tuple[int, ...]] = []
        self.counts = 0

    def lookup(self, machine: Machine, reference: int, key: int, *_: int) -> int:
        assert reference == 1 << 33
        self.counts = self.counts or machine.grab(8 * ELEMENTS)
        return self.counts + 8 * machine.read(key, 4)

    def loop(self, machine: Machine, nr: int, body: int, context: int, *_: int) -> int:
        for index in range(nr):
            machine.back(body, index, context)
        return nr

    def insert(self, _: Machine, *registers: int) -> int:
        self.inserted.append(registers)
        return 0

    def functions(self) -> dict[str, Callable[..., int]]:
        return {
            "bpf_map_lookup_elem": self.lookup,
            "bpf_loop": self.loop,
            "scx_bpf_dsq_insert": self.insert,
            "bpf_ktime_get_ns": lambda *_: 1000,
        }


@pytest.fixture(scope="module", params=["compiled", "coverage", "interpreted"])
def object_(request: pytest.FixtureRequest, work: Path, scheduler: bytes, kernel: KernelTypes) -> ScxObject:
    path = work / "scheduler.bpf.o"
    path.write_bytes(scheduler)
    return load_object(
        path,
        kernel,
        coverage=request.param == "coverage",
        interpret=request.param == "interpreted",
        folder=work / "cache",
    )


@pytest.fixture
def core() -> Core:
    return Core()


@pytest.fixture
def machine(object_: ScxObject, core: Core, work: Path) -> Machine:
    return Machine(object_.description, core.functions(), work)


def task(machine: Machine, *, pid: int = 5, vtime: int = 900, weight: int = 50, mask: int = 0b10) -> int:
    address = machine.grab(512)
    bits = machine.grab(64)
    machine.write(bits, 8, mask)
    machine.write(*machine.field(address, "task_struct", "pid"), pid)
    machine.write(*machine.field(address, "task_struct", "cpus_ptr"), bits)
    entity = machine.field(address, "task_struct", "scx")[0]
    machine.write(*machine.field(entity, "sched_ext_entity", "dsq_vtime"), vtime)
    machine.write(*machine.field(entity, "sched_ext_entity", "weight"), weight)
    return address


def mixed(a: int, b: int) -> int:
    """As the scheduler's source has it."""
    signed = b - (1 << 32) if b >> 31 else b
    return (((a * 31 + b) & U64) // (b | 1) ^ a >> 3 ^ signed >> 2) & U64


@pytest.mark.parametrize(("pid", "vtime"), [(5, 900), (-3, 77777), (2**31 - 1, U64), (0, 0)])
def test_fields_are_where_the_simulator_has_them(machine: Machine, pid: int, vtime: int) -> None:
    p = task(machine, pid=pid, vtime=vtime)
    answer = (mixed(vtime, pid & 0xFFFFFFFF) & 1) + 1
    assert machine.call("select_cpu", p, 1, 0) == answer
    assert machine.read(*machine.variable("last_answer")) == answer
    assert machine.trap[0] == 0


def test_a_field_that_only_the_kernel_has_ends_the_run_by_name(machine: Machine, object_: ScxObject) -> None:
    machine.call("select_cpu", task(machine), 3, 0)
    reason, detail = machine.trap
    assert reason == UNKNOWN
    assert (
        object_.description.unknowns[detail] == b"task_struct.stack_canary, which the simulator does not have"
    )


def test_enqueue_calls_counts_and_loops(machine: Machine, core: Core) -> None:
    p = task(machine, pid=6)
    for _ in range(3):
        machine.call("enqueue", p, 7)
    assert machine.trap[0] == 0
    assert [machine.read(core.counts + 8 * key, 8) for key in range(ELEMENTS)] == [0, 0, 21, 0]
    assert machine.read(*machine.variable("nr_enqueued")) == 3
    address, _ = machine.variable("per_cpu")
    assert machine.read(address + 8, 8) == 3 * (30 + 1)  # 3 x (the loop's sum + CONFIG_SMP)
    entity = machine.field(p, "task_struct", "scx")[0]
    assert (
        machine.read(*machine.field(entity, "sched_ext_entity", "dsq_vtime")) == 900 + 3 * 5000000 * 100 // 50
    )
    # The queue and the flag are the kernel's: the source has other numbers for them.
    assert core.inserted == [(p, 0x12345, 5000000, 16 | 30 << 32, 0)] * 3


def test_settings_are_set_by_name(machine: Machine, core: Core) -> None:
    machine.write(*machine.variable("slice_ns"), 123)
    machine.call("enqueue", task(machine), 0)
    assert core.inserted[0][2] == 123


def test_symbols_and_the_configuration_are_the_kernels(machine: Machine) -> None:
    machine.symbols[0] = machine.grab(4)
    machine.write(machine.symbols[0], 4, 4)
    assert machine.call("init") == 7 + 4


def test_an_object_is_described(object_: ScxObject) -> None:
    rows = object_.description
    assert object_.name == "tested"
    members = {row.name.decode(): (row.function, row.value) for row in rows.members[: rows.nr_members]}
    assert set(members) == {
        "select_cpu",
        "enqueue",
        "init",
        "flags",
        "timeout_ms",
    }  # the kernel has no `newer`
    assert members["flags"] == (-1, 3)
    assert members["timeout_ms"] == (-1, 5000)
    # What only code calls that can't run on this kernel is not needed.
    assert set(object_.required_calls) == {"bpf_map_lookup_elem", "bpf_loop", "scx_bpf_dsq_insert"}
    maps = [
        (row.name, row.type, row.key_size, row.value_size, row.max_entries)
        for row in rows.maps[: rows.nr_maps]
    ]
    assert maps == [(b"counts", 2, 4, 8, 4)]
    named = {
        row.name.decode(): bool(row.native or row.instructions) for row in rows.functions[: rows.nr_functions]
    }
    assert named["ask"]
    assert not named["unused"]


def test_what_runs_is_counted(machine: Machine, object_: ScxObject) -> None:
    machine.call("enqueue", task(machine), 0)
    counted = {
        object_.description.functions[block.function].name
        for number, block in enumerate(object_.description.blocks[: object_.description.nr_blocks])
        if machine.covered[number]
    }
    assert counted == ({b"enqueue", b"body"} if object_.coverage else set())


# What a bad scheduler does -> why it is stopped, and the trap's detail.
BAD = {
    "load": ("return *(volatile s32 *)(context[1] << 40);", (LOAD, 1 << 40)),
    "behind the end": ("return *(volatile u8 *)(context[1] << 18);", (LOAD, 1 << 18)),
    "store": ("*(volatile u64 *)(context[1] << 40) = 1; return 0;", (STORE, 1 << 40)),
    "null store": ("((volatile u64 *)0)[7 * context[1]] = 1; return 0;", (STORE, 56)),
    "endless": ("volatile u64 x = 1; while (x) x |= 2; return 0;", (FUEL, 0)),
    "recursion": ("return again(3) + 1;", (STACK, 0)),
    "absent": ("return ktime();", (CALL, None)),
}


@pytest.fixture(scope="module", params=[False, True], ids=["compiled", "interpreted"])
def bad(request: pytest.FixtureRequest, work: Path, kernel: KernelTypes) -> ScxObject:
    start, end = SCHEDULER.index('SEC("struct_ops/select_cpu")'), SCHEDULER.index('SEC("struct_ops/enqueue")')
    cases = "".join(f"case {number}: {{ {body} }}\n" for number, (body, _) in enumerate(BAD.values()))
    text = f"""
__attribute__((noinline)) u64 again(u64 n) {{ return again(n * 3) * 5 + n; }}
SEC("struct_ops/select_cpu") s32 pick(u64 *context) {{ switch (context[2]) {{ {cases} }} return 0; }}
"""
    path = work / "bad.bpf.o"
    path.write_bytes(compile_bpf(work, "bad", SCHEDULER[:start] + text + SCHEDULER[end:]))
    return load_object(path, kernel, interpret=request.param, folder=work / "cache")


@pytest.mark.parametrize("kind", BAD)
def test_bad_code_is_trapped(kind: str, bad: ScxObject, work: Path) -> None:
    reason, detail = BAD[kind][1]
    machine = Machine(bad.description, {}, work)
    machine.call("select_cpu", task(machine), 1, list(BAD).index(kind))
    assert machine.trap[0] == reason
    assert detail is None or machine.trap[1] == detail
    assert machine.instance.stack == 4096
    assert machine.memory.raw[:4096] == bytes(4096)


def test_null_reads_as_zero(machine: Machine) -> None:
    assert machine.call("select_cpu", 0, 1, 0) == 0 + (mixed(0, 0) & 1)
    assert machine.trap[0] == 0

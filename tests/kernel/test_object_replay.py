"""A guest's log of every callback, fed to the translation of the very object that wrote it there."""

from __future__ import annotations

import base64
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from pathlib import Path

import pytest
from tests.kernel.lab_guest import lab_or_skip
from tests.unit.sim.bpf.machine import Machine

from schedtuna.lab.boot import boot
from schedtuna.lab.store import Lab
from schedtuna.lab.vm import GuestSpec
from schedtuna.sim.bpf.kernel import read_kernel
from schedtuna.sim.bpf.load import ScxObject, load_object

ROOM = 1 << 18
WANTED = 12000
MANY = 100_000
KINDS = {
    1: "select_cpu",
    2: "enqueue",
    3: "dispatch",
    4: "running",
    5: "stopping",
    6: "enable",
    7: "init_task",
}
OFTEN = ("select_cpu", "enqueue", "dispatch", "running", "stopping")
RECORD = struct.Struct("<Ii3QQ3Q")
# In the guest: load, let work be done until there are enough records, let go, and print them.
RUN = """
import base64, subprocess, sys, time, zlib
sys.path.insert(0, "/usr/lib/schedtuna/python")
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.sched_ext import fill_in, find_operations
path, wanted, record = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with BpfObject("logged", content=open(path, "rb").read()) as bpf:
    operations, _ = find_operations(bpf)
    fill_in(bpf, operations)
    bpf.load()
    memory = bpf.map_array("records")
    bpf.attach_operations(operations)
    busy, asleep = "while True: pass", "import time\\nwhile True: time.sleep(0.0003)"
    hogs = [subprocess.Popen(["python3", "-ISc", text]) for text in (busy, busy, asleep, asleep, asleep)]
    subprocess.run(["renice", "-n", "5", str(hogs[0].pid)], capture_output=True)
    end = time.monotonic() + 120
    while bpf.variable("nr_records") < wanted and time.monotonic() < end:
        subprocess.run(["hackbench", "-g", "1", "-l", "10"], capture_output=True)
    for each in hogs:
        each.kill()
    bpf.detach()
    time.sleep(0.5)
    number = min(bpf.variable("nr_records"), len(memory) // record)
    print(base64.b64encode(zlib.compress(memory[: number * record])).decode())
"""


def build(folder: Path) -> Path:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("no clang")
    file = folder / "logged.bpf.o"
    options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-w", f"-DROOM={ROOM}"]
    source = Path(__file__).with_name("bpf") / "logged.bpf.c"
    subprocess.run([clang, *options, "-c", source, "-o", file], check=True)
    return file


@pytest.fixture(scope="module")
def lab() -> Lab:
    return lab_or_skip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replay")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return build(folder)


def recorded(
    lab: Lab, file: Path, wanted: int, size: int = RECORD.size, topology: str = "1x2x1"
) -> list[bytes]:
    """The records of an object's log, each of `size` bytes, from a guest that does a mixed load."""
    guest, _ = boot(lab, GuestSpec.of(None, topology, programs=(file,)))
    place = f"/usr/lib/schedtuna/objects/{file.name}"
    with guest:
        arguments = [place, str(wanted), str(size)]
        raw = guest.run(["python3", "-I", "-S", "-c", RUN, *arguments], folder="/", timeout_s=600)
        assert raw.exit_code == 0, raw.stderr
    data = zlib.decompress(base64.b64decode(raw.stdout))
    return [data[place : place + size] for place in range(0, len(data), size)]


@pytest.fixture(scope="module")
def records(lab: Lab, file: Path) -> list[bytes]:
    return recorded(lab, file, WANTED)


class Replay:
    """The kernel as the log tells of it: its functions answer what they answered there."""

    def __init__(self, object_: ScxObject, folder: Path) -> None:
        self.machine = Machine(object_.description, self.functions(), folder, nr_bytes=1 << 22)
        self.maps = {
            (1 << 33) + number: row.name
            for number, row in enumerate(object_.description.maps[: object_.description.nr_maps])
        }
        self.written = self.machine.grab(RECORD.size)
        self.scratch = self.machine.grab(64)
        self.tasks: dict[int, int] = {}
        self.histories: dict[int, int] = {}
        self.runs: dict[int, int] = {}
        self.given: tuple[int, ...] = ()
        self.answer = 0

    def functions(self):
        insert = lambda *_: 1  # noqa: E731
        return {
            "scx_bpf_select_cpu_dfl": self.select,
            "scx_bpf_dsq_insert": insert,
            "scx_bpf_dsq_insert___v2": insert,
            "__scx_bpf_dsq_insert_vtime": self.insert_vtime,
            "scx_bpf_dsq_move_to_local": lambda *_: self.given[1],
            "scx_bpf_dsq_move_to_local___v2": lambda *_: self.given[1],
            "scx_bpf_task_set_dsq_vtime": lambda _, p, vtime, *__: self.set_entity(p, "dsq_vtime", vtime),
            "scx_bpf_now": lambda *_: self.given[0],
            "scx_bpf_create_dsq": lambda *_: 0,
            "bpf_map_lookup_elem": self.lookup,
            "bpf_map_update_elem": self.update,
            "bpf_task_storage_get": self.storage,
        }

    def set_entity(self, p: int, name: str, value: int) -> int:
        entity = self.machine.field(p, "task_struct", "scx")[0]
        self.machine.write(*self.machine.field(entity, "sched_ext_entity", name), value)
        return 1

    def select(self, machine: Machine, _p: int, _prev: int, _flags: int, is_idle: int, *_: int) -> int:
        machine.write(is_idle, 1, self.given[2])
        return self.answer

    def insert_vtime(self, machine: Machine, p: int, arguments: int, *_: int) -> int:
        """The kernel keeps a task's key in the task."""
        return self.set_entity(p, "dsq_vtime", machine.read(arguments + 16, 8))

    def lookup(self, machine: Machine, reference: int, key: int, *_: int) -> int:
        if self.maps[reference] == b"records":
            return self.written
        return self.runs.get(machine.read(key, 4), 0)

    def update(self, machine: Machine, _reference: int, key: int, value: int, *_: int) -> int:
        place = self.runs.setdefault(machine.read(key, 4), machine.grab(8))
        machine.write(place, 8, machine.read(value, 8))
        return 0

    def storage(self, machine: Machine, _reference: int, p: int, _value: int, flags: int, *_: int) -> int:
        if p not in self.histories and flags & 1:
            self.histories[p] = machine.grab(64)
        return self.histories.get(p, 0)

    def task(self, pid: int, *, born: bool) -> int:
        if born or pid not in self.tasks:
            self.tasks[pid] = self.machine.grab(self.machine.field(0, "task_struct", "scx")[0] + 256)
            self.machine.write(*self.machine.field(self.tasks[pid], "task_struct", "pid"), pid)
        return self.tasks[pid]

    def replay(self, record: bytes) -> bytes:
        """Call what was called, with what it was given; returns what it logs here."""
        kind, pid, *given, shared, decided, _, _ = RECORD.unpack(record)
        self.given, self.answer = tuple(given), decided
        p = 0 if pid < 0 else self.task(pid, born=kind == 7)
        if kind in (2, 4, 6):
            self.machine.write(*self.machine.variable("vtime_now"), shared)
        if kind in (2, 5, 6):
            self.set_entity(p, "weight", given[0] if kind == 6 else given[1])
        arguments = {1: (p, given[0], given[1]), 2: (p, given[0]), 3: (given[0], p), 5: (p, given[2])}
        self.machine.call(KINDS[kind], *arguments.get(kind, (p,)))
        assert self.machine.trap == (0, 0)
        return self.machine.bytes(self.written, RECORD.size)


def load(file: Path, lab: Lab, folder: Path, *, interpret: bool) -> ScxObject:
    unpacked = lab.kernel().unpacked
    if unpacked is None:
        pytest.skip("the lab's kernel is not unpacked: no types")
    return load_object(file, read_kernel(unpacked), interpret=interpret, folder=folder / "cache")


def replayed(records: list[bytes], object_: ScxObject, folder: Path, bonus_ns: int = 0) -> Counter[str]:
    """How many records of each kind differ."""
    replay = Replay(object_, folder)
    address, size = replay.machine.variable("bonus_ns")
    replay.machine.write(address, size, replay.machine.read(address, size) + bonus_ns)
    differ: Counter[str] = Counter()
    for record in records:
        if replay.replay(record) != record:
            differ[KINDS[RECORD.unpack(record)[0]]] += 1
    return differ


@pytest.mark.parametrize("interpret", [False, True], ids=["compiled", "interpreted"])
def test_the_translation_decides_as_the_object_did_in_the_guest(
    records: list[bytes], lab: Lab, file: Path, folder: Path, interpret: bool
) -> None:
    kinds = Counter(KINDS[RECORD.unpack(record)[0]] for record in records)
    assert len(records) >= WANTED
    assert all(kinds[kind] >= len(records) // 50 for kind in OFTEN), kinds
    assert replayed(records, load(file, lab, folder, interpret=interpret), folder) == {}


def test_a_constant_that_is_one_off_is_found(
    records: list[bytes], lab: Lab, file: Path, folder: Path
) -> None:
    differ = replayed(records, load(file, lab, folder, interpret=True), folder, bonus_ns=1)
    assert differ["enqueue"] > 100


@pytest.mark.long
def test_a_hundred_thousand_callbacks(lab: Lab, file: Path, folder: Path) -> None:
    many = recorded(lab, file, MANY)
    kinds = Counter(KINDS[RECORD.unpack(record)[0]] for record in many)
    print(dict(kinds))
    assert len(many) >= MANY
    assert all(kinds[kind] >= len(many) // 10 for kind in OFTEN), kinds
    object_ = load(file, lab, folder, interpret=False)
    assert replayed(many, object_, folder) == {}
    assert replayed(many, object_, folder, bonus_ns=1)["enqueue"] > MANY // 100

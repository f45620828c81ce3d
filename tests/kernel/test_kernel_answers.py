"""What a guest's kernel answers a scheduler, asked of the simulated kernel in the same state."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.kernel.lab_guest import lab_or_skip
from tests.kernel.test_object_replay import recorded
from tests.native.programs import ENGINE, ROOT, compile_program

pytestmark = pytest.mark.long
ROOM = 1 << 17
WANTED = 60_000
RECORD_BYTES = 232  # of struct scx_answer
# Of each guest: its topology, then how many CPUs, CPUs of a cache and threads of a core that is.
SHAPES = {"2x2x1": (4, 2, 1), "2x2x2": (8, 4, 2)}
IDLE = ("scx_bpf_select_cpu_dfl", "scx_bpf_select_cpu_and", "scx_bpf_pick_idle_cpu", "scx_bpf_pick_any_cpu")
QUEUES = ("order of arrival, several", "order of virtual time, several", "its reverse, several")
EXACT = (*IDLE, *QUEUES, "scx_bpf_test_and_clear_cpu_idle", "scx_bpf_dsq_nr_queued", "slice at a tick")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("g++"):
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("answers")
    interpreter = folder / "interpreter.o"
    options = ["-std=gnu11", "-O1", "-fsanitize=address,undefined", f"-I{ROOT / 'include'}"]
    source = ROOT / "native/scx/interpreter.c"
    subprocess.run(["gcc", *options, f"-I{source.parent}", "-c", source, "-o", interpreter], check=True)
    sources = [ROOT / "tests/native/scx_answers.cpp", *ENGINE, *sorted(source.parent.glob("*.cpp"))]
    return compile_program(folder / "answers", sources, libraries=(str(interpreter),))


@pytest.fixture(scope="module", params=SHAPES)
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    clang = next(filter(None, (shutil.which(f"clang-{version}") for version in range(25, 16, -1))), None)
    if clang is None:
        pytest.skip("no clang-17 or newer: older ones lose a function's type where calls are merged")
    folder = tmp_path_factory.mktemp("log")
    file = folder / "answers.bpf.o"
    options = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-w", f"-DROOM={ROOM}"]
    source = Path(__file__).with_name("bpf") / "answers.bpf.c"
    subprocess.run([clang, *options, f"-I{ROOT / 'tests/native'}", "-c", source, "-o", file], check=True)
    records = recorded(lab_or_skip(), file, WANTED, RECORD_BYTES, topology=request.param)
    assert len(records) >= WANTED
    # What comes later may be of a scheduler that is being let go of.
    (folder / "log").write_bytes(b"".join(records[:WANTED]))
    return folder / "log", request.param


def answered(program: Path, log: tuple[Path, str], *, fault: str = "") -> Counter[str]:
    """How often each question was answered differently; those that were are printed."""
    numbers = map(str, SHAPES[log[1]])
    done = subprocess.run(
        [program, log[0], *numbers, *filter(None, [fault])], check=False, capture_output=True, text=True
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert all(int(asked) >= 300 for what, asked, _ in rows if what in EXACT)
    return Counter({what: int(differ) for what, _, differ in rows})


def test_the_simulated_kernel_answers_as_the_guests_did(program: Path, log: tuple[Path, str]) -> None:
    differ = answered(program, log)
    assert {what: differ[what] for what in EXACT if differ[what]} == {}


@pytest.mark.parametrize(
    ("fault", "found"), [("order", "order of arrival, several"), ("slice", "slice at a tick")]
)
def test_a_planted_fault_is_found(program: Path, log: tuple[Path, str], fault: str, found: str) -> None:
    assert answered(program, log, fault=fault)[found] > 100

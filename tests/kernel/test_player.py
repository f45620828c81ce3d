"""schedtuna-player and rt-app 1.0 do the same with the same file: phases, switches, CPU time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from schedtuna.resources import resource_path

pytestmark = [
    pytest.mark.skipif(not shutil.which("rt-app"), reason="no rt-app: apt-get install rt-app"),
    pytest.mark.skipif(os.geteuid() != 0, reason="keeping other load away needs root"),
]
AUTOGROUP = Path("/proc/self/autogroup")


def stand_apart() -> None:
    """Have a session, and with it an autogroup, that what else runs here hardly disturbs."""
    os.setsid()
    if AUTOGROUP.exists():
        AUTOGROUP.write_text("-20")


@dataclass
class Run:
    output: str
    cpu_s: float
    nr_voluntary: int
    nr_involuntary: int


def run(folder: Path, *command: str) -> Run:
    process = subprocess.Popen(
        ("timeout", "60", *command),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=stand_apart,  # noqa: PLW1509 - no threads here
    )
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return Run(output, usage.ru_utime + usage.ru_stime, usage.ru_nvcsw, usage.ru_nivcsw)


def written(folder: Path, name: str, tasks: dict, ns_per_turn: int) -> str:
    settings = {"calibration": ns_per_turn, "logdir": ".", "log_basename": name}
    (folder / f"{name}.json").write_text(json.dumps({"global": settings, "tasks": tasks}))
    return f"{name}.json"


def phases_of_rt_app(folder: Path, name: str) -> list[int]:
    logs = sorted(folder.glob(f"{name}-*.log"), key=lambda path: int(path.stem.rpartition("-")[2]))
    return [
        sum(line.strip() != "" and line[0] != "#" for line in log.read_text().splitlines()) for log in logs
    ]


def laps(count: int, events: dict, **task: object) -> dict:
    return {**task, "loop": 1, "phases": {"lap": {"loop": count, **events}}}


@pytest.fixture(scope="module")
def ns_per_turn(tmp_path_factory) -> int:
    """How long a turn of rt-app's loop takes in CPU time; its own calibration goes by the clock."""
    folder = tmp_path_factory.mktemp("calibration")
    done = run(folder, "rt-app", written(folder, "load", {"w": laps(1, {"run": 500_000})}, 100))
    return round(done.cpu_s * 1e9 / (500_000 * 1000 / 100))


CPU = max(os.sched_getaffinity(0))
TIMERS = laps(100, {"run": 1000, "timer": {"ref": "unique", "period": 5000}}, instance=2)
LOCKS = laps(100, {"lock": "m", "run": 1000, "unlock": "m", "sleep": 2000}, instance=2, cpus=[CPU])
HOGS = {"a": laps(300, {"run": 2000}, cpus=[CPU]), "b": laps(100, {"run": 2000}, cpus=[CPU], priority=5)}
# None with a barrier: rt-app's lets tasks through, and those that are left at the end wait for ever.
# Seconds that a file asks for, and by how much voluntary switches may differ beside a few at start and end.
LOADS = {
    "timers": ({"w": TIMERS}, 0.2, 0.15),
    "locks": ({"w": LOCKS}, 0.2, 0.15),
    "hogs": (HOGS, 0.8, 0.15),
}


@pytest.mark.parametrize("name", LOADS)
def test_player_and_rt_app_do_the_same(tmp_path, ns_per_turn, name):
    tasks, asked_s, tolerance = LOADS[name]
    file = written(tmp_path, name, tasks, ns_per_turn)
    theirs = run(tmp_path, "rt-app", file)
    ours = run(tmp_path, str(resource_path("native/schedtuna-player")), file, "--rt-app")
    played = json.loads(ours.output)["tasks"]
    assert [task["nr_phases"] for task in played] == phases_of_rt_app(tmp_path, name)
    # rt-app's loop takes longer with company on the core; ours is corrected after sleeps.
    assert sum(task["asked_ns"] for task in played) == pytest.approx(asked_s * 1e9)
    assert sum(task["cpu_time_ns"] for task in played) == pytest.approx(asked_s * 1e9, rel=0.2)
    assert theirs.cpu_s == pytest.approx(asked_s, rel=0.5)
    assert ours.nr_voluntary == pytest.approx(theirs.nr_voluntary, rel=tolerance, abs=15)
    if name == "hogs":
        assert ours.nr_involuntary / ours.cpu_s == pytest.approx(
            theirs.nr_involuntary / theirs.cpu_s, rel=0.4
        )

"""Are sched_ext schedulers under control? Swapped under load, ejected on purpose, and tuned, in the lab.

Prints JSON: what 100 swaps there and back took and left behind, how many of 50 provoked ejections were
detected (and how many quiet runs were taken for one), and how long a study of 50 trials takes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median

from schedtuna.errors import UnavailableError
from schedtuna.lab.boot import boot
from schedtuna.lab.build.examples import BPFTOOL, find_examples
from schedtuna.lab.store import Lab, read_lab
from schedtuna.lab.vm import BootedGuest, GuestSpec
from schedtuna.scheduler.scx import ScxProcess, read_state
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.scheduler.stall import StallProbe
from skipping import skipping

A, B, STALLING = "scx_simple", "scx_central", "scx_userland"
LOAD = ("hackbench", "-g", "1", "-l", "1000000")
PYTHON = "/usr/bin/python3"
ONLINE = "/sys/devices/system/cpu/cpu1/online"
_SEEN_WITHIN_S = 180.0


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few of each")
    parser.add_argument("--number", type=int, help="how many swaps there and back, or ejections")
    parser.add_argument("--part", choices=("swaps", "ejections", "tune"), action="append")
    options = parser.parse_args()
    lab = read_lab()
    if not find_examples(lab.kernel()):
        raise UnavailableError(
            "the kernel's example schedulers are not built", hint="schedtuna lab setup --schedulers"
        )
    parts = options.part or ["swaps", "ejections", "tune"]
    result: dict[str, object] = {
        "benchmark": "scx_control",
        "kernel": lab.default_kernel,
        "accelerator": lab.accelerator,
        "load_average": os.getloadavg()[0],
    }
    if "swaps" in parts:
        result["swaps"] = swaps(lab, options.number or (3 if options.quick else 100))
    if "ejections" in parts:
        result["ejections"] = ejections(lab, options.number or (4 if options.quick else 50))
    if "tune" in parts:
        result["tune"] = study(12 if options.quick else 50)
    print(json.dumps(result))


def guest_of(lab: Lab) -> BootedGuest:
    """Boot a guest that has the schedulers, and bpftool to count what they leave."""
    programs = [find_examples(lab.kernel())[name] for name in (A, B, STALLING)]
    guest, _ = boot(lab, GuestSpec(cpus=2, programs=(*programs, programs[0].with_name(BPFTOOL))))
    return guest


def started(guest: BootedGuest, name: str) -> ScxProcess:
    """Put a scheduler in charge."""
    program = f"/usr/local/bin/{name}"
    return ScxProcess(guest, SchedulerConfig(name=name), program, cpu_s=guest.cpu_s)


# ---- swaps --------------------------------------------------------------------------------------


def swaps(lab: Lab, number: int) -> dict[str, object]:
    """Swap A for B and back under load, and look at what is left."""
    enable_s, disable_s, stalls_s = [], [], []
    with guest_of(lab) as guest:
        before = leavings(guest)
        seq = read_state(guest).enable_seq
        load = guest.spawn(LOAD)
        with StallProbe(guest, [0, 1], PYTHON) as probe:
            time.sleep(5)
            usual_s = probe.longest_s()
            for done in range(number):
                for name in (A, B):
                    began = time.monotonic()
                    running = started(guest, name)
                    enable_s.append(time.monotonic() - began)
                    reason = running.ejected()
                    assert not reason, reason
                    began = time.monotonic()
                    running.close()
                    disable_s.append(time.monotonic() - began)
                    stalls_s.append(probe.longest_s())
                _progress("swaps", done + 1, number)
        survived = guest.status(load) is None
        guest.signal(load, signal.SIGKILL)
        deadline = time.monotonic() + _SEEN_WITHIN_S  # the kernel frees maps a while after their last user
        while (after := leavings(guest)) != before and time.monotonic() < deadline:
            time.sleep(1)
        state = read_state(guest)
    return {
        "there_and_back": number,
        "enabled": state.enable_seq - seq,
        "state_after": state.state,
        "load_survived": survived,
        "left_behind": {name: after[name] - before[name] for name in before},
        "enable_median_s": median(enable_s),
        "disable_median_s": median(disable_s),
        "stall_median_ms": 1e3 * median(stalls_s),
        "stall_longest_ms": 1e3 * max(stalls_s),
        "stall_without_swaps_ms": 1e3 * usual_s,
    }


def leavings(guest: BootedGuest) -> dict[str, int]:
    """What a scheduler could leave: BPF programs, maps and links, pinned files, processes."""
    counts = {}
    for kind in ("prog", "map", "link"):
        raw = guest.run([f"/usr/local/bin/{BPFTOOL}", "-j", kind, "show"], folder="/")
        counts[kind] = len(json.loads(raw.stdout or "[]"))
    script = "ls -A /sys/fs/bpf | wc -l; ps | grep -c '/[s]cx_'"  # with a path: no thread of the kernel's
    pinned, processes = guest.run(["sh", "-c", script], folder="/").stdout.split()
    return {**counts, "pinned": int(pinned), "processes": int(processes)}


# ---- ejections ----------------------------------------------------------------------------------


def ejections(lab: Lab, number: int) -> dict[str, object]:
    """Provoke ejections of every kind, with a quiet run before each, and count what is noticed."""
    causes: dict[str, tuple[str, Callable[[BootedGuest, ScxProcess], object]]] = {
        "killed": (A, _kill),
        "sysrq": (B, lambda guest, _: _shell(guest, "echo S > /proc/sysrq-trigger")),
        "cpu offline": (A, lambda guest, _: _shell(guest, f"echo 0 > {ONLINE}; sleep 1; echo 1 > {ONLINE}")),
        "replaced": (A, _replace),
        "watchdog": (STALLING, _stall),
    }
    shares = {"watchdog": max(1, number // 25)}
    rest = number - shares["watchdog"]
    for at, name in enumerate(("killed", "sysrq", "cpu offline", "replaced")):
        shares[name] = rest // 4 + (at < rest % 4)
    found: dict[str, dict[str, int]] = {}
    false_alarms, reasons = 0, {}
    with guest_of(lab) as guest:
        for cause, share in shares.items():
            name, provoke = causes[cause]
            found[cause] = {"provoked": share, "detected": 0, "back_on_default": 0}
            for _ in range(share):
                running = started(guest, name)
                guest.run(["hackbench", "-g", "1", "-l", "5"], folder="/")
                false_alarms += bool(running.ejected())
                other = provoke(guest, running)
                reasons[cause] = _noticed(running)
                found[cause]["detected"] += bool(reasons[cause])
                guest.signal(running.pid, signal.SIGCONT)
                running.close()
                if isinstance(other, int):
                    guest.signal(other, signal.SIGKILL)
                found[cause]["back_on_default"] += _disabled(guest)
            _progress("ejections", sum(row["provoked"] for row in found.values()), number)
    return {
        "provoked": number,
        "detected": sum(row["detected"] for row in found.values()),
        "back_on_default": sum(row["back_on_default"] for row in found.values()),
        "quiet_runs": number,
        "false_alarms": false_alarms,
        "by_cause": found,
        "reasons": reasons,
    }


def _kill(guest: BootedGuest, running: ScxProcess) -> None:
    guest.signal(running.pid, signal.SIGKILL)


def _replace(guest: BootedGuest, running: ScxProcess) -> int:
    guest.signal(running.pid, signal.SIGKILL)
    while read_state(guest).state != "disabled":
        time.sleep(0.1)
    other = guest.spawn([f"/usr/local/bin/{B}"])
    while read_state(guest).state != "enabled":
        time.sleep(0.1)
    return other


def _stall(guest: BootedGuest, running: ScxProcess) -> None:
    guest.signal(running.pid, signal.SIGSTOP)
    guest.run(["sh", "-c", "hackbench -g 1 -l 20 & sleep 5"], folder="/", timeout_s=_SEEN_WITHIN_S)


def _shell(guest: BootedGuest, script: str) -> None:
    guest.run(["sh", "-c", script], folder="/")


def _noticed(running: ScxProcess) -> str:
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while not (reason := running.ejected()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return reason


def _disabled(guest: BootedGuest) -> bool:
    deadline = time.monotonic() + _SEEN_WITHIN_S
    while read_state(guest).state != "disabled" and time.monotonic() < deadline:
        time.sleep(0.1)
    return read_state(guest).state == "disabled"


# ---- a study ------------------------------------------------------------------------------------


def study(budget: int) -> dict[str, object]:
    """Tune the example scheduler from the command line, as a user would."""
    with tempfile.TemporaryDirectory(prefix="scx-control-") as folder:
        argv = [sys.executable, "-m", "schedtuna", "tune", "--backend", "vm", "--scheduler", A]
        argv += ["--budget", str(budget), "--seed", "1", "--results", folder, "--json", "--"]
        began = time.monotonic()
        done = subprocess.run(
            [*argv, "hackbench", "-g", "1", "-l", "50"], capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - began
    if done.returncode:
        return {"failed": done.stderr[-1000:]}
    answer = json.loads(done.stdout.splitlines()[-1])
    return {"trials": budget, "seconds": seconds, "goal_s": 300.0, "verdict": answer.get("verdict")}


def _progress(what: str, done: int, number: int) -> None:
    if done == number or not done % 10 or what == "ejections":
        print(f"{what}: {done}/{number}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    with skipping("scx_control"):
        main()

"""How long does a guest take to boot, and a command in it? Beside: the same command on this machine.

Prints JSON: seconds from the order to guestd's first words, as this machine's clock sees it and as
CPU time of QEMU, which other load does not stretch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from statistics import median

from schedtuna.lab.boot import boot
from schedtuna.lab.store import read_lab
from schedtuna.lab.vm import GuestSpec
from skipping import skipping


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two boots")
    parser.add_argument("--cpus", type=int, default=1)
    options = parser.parse_args()
    lab = read_lab()
    boots, cpu, commands, failed = [], [], [], 0
    for _ in range(2 if options.quick else 20):
        guest, nr_failed = boot(lab, GuestSpec(cpus=options.cpus))
        failed += nr_failed
        with guest:
            boots.append(guest.boot_s)
            cpu.append(guest.cpu_s())
            commands.append(_seconds(lambda guest=guest: guest.run(["true"], folder="/")))
    here = _seconds(lambda: subprocess.run(["true"], check=True))
    result = {
        "benchmark": "lab_boot",
        "kernel": lab.default_kernel,
        "accelerator": lab.accelerator,
        "cpus": options.cpus,
        "boots": len(boots),
        "failed_boots": failed,
        "boot_s": median(boots),
        "boot_cpu_s": median(cpu),
        "command_s": median(commands),
        "command_on_host_s": here,
        "goal_s": 4.0,
    }
    print(json.dumps(result))


def _seconds(call: object) -> float:
    assert callable(call)
    before = time.monotonic()
    call()
    return time.monotonic() - before


if __name__ == "__main__":
    with skipping("lab_boot"):
        main()

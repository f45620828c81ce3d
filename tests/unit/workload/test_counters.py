"""perf counters of a command and its children; joules where the machine has them."""

from __future__ import annotations

import os
import sys

import pytest

from schedtuna.errors import UnavailableError
from schedtuna.kernel.perf_events import open_cycle_counter
from schedtuna.workload.command import start
from schedtuna.workload.counters import COUNTERS, EVENTS, Event, read_power_pmu
from schedtuna.workload.spec import Workload


def count(program: str, *counters: str) -> dict[str, float]:
    workload = Workload(argv=(sys.executable, "-Ic", program))
    try:
        held = start(workload, 1, counters=counters)
    except UnavailableError as error:
        if "no permission" in str(error):
            pytest.skip(str(error))
        raise
    with held:
        held.go()
        return held.wait().counters


TOUCH = "import mmap\nm = mmap.mmap(-1, {pages} * 4096)\nfor i in range({pages}): m[i * 4096] = 1\n"


def test_page_faults_are_those_of_the_command():
    few, many = (count(TOUCH.format(pages=pages), "nr_page_faults")["nr_page_faults"] for pages in (10, 3010))
    assert many - few == pytest.approx(3000, abs=150)  # transparent huge pages are off for such small maps


def test_children_are_counted():
    program = "import os\nif os.fork() == 0:\n" + "".join(
        f" {line}\n" for line in TOUCH.format(pages=3000).splitlines()
    )
    assert count(program + " os._exit(0)\nos.wait()", "nr_page_faults")["nr_page_faults"] > 3000


def test_migrations_are_counted():
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("a task needs two CPUs to move")
    program = f"import os\nfor i in range(100): os.sched_setaffinity(0, {{({cpus[0]}, {cpus[1]})[i % 2]}})"
    assert count(program, "nr_migrations")["nr_migrations"] >= 99


def test_only_what_is_asked_for_is_counted():
    with start(Workload(argv=("true",)), 1) as held:
        held.go()
        assert held.wait().counters == {}


def test_hardware_counters_work_or_say_that_there_are_none():
    if open_cycle_counter() == 0:
        values = count("sum(range(10**6))", "ipc", "cycles", "instructions")
        assert values["ipc"] == pytest.approx(values["instructions"] / values["cycles"])
    else:
        with pytest.raises(UnavailableError, match=r"no counter for cycles|no permission"):
            count("pass", "ipc")


def test_a_machine_without_energy_counters_says_so(tmp_path):
    with pytest.raises(UnavailableError, match="no counter for energy_j"):
        read_power_pmu(tmp_path)


def test_the_power_pmus_description_is_understood(tmp_path):
    # As /sys/bus/event_source/devices/power looks on a machine with two packages.
    (tmp_path / "events").mkdir()
    for name, text in {
        "type": "22\n",
        "cpumask": "0,18\n",
        "events/energy-pkg": "event=0x02\n",
        "events/energy-pkg.scale": "2.3283064365386962890625e-10\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert read_power_pmu(tmp_path) == (Event(22, 2), [0, 18], 2.0**-32)


def test_every_counter_is_made_of_known_events():
    assert {event for events in COUNTERS.values() for event in events} <= EVENTS.keys()

"""Does the fair class in Python decide as the native one, at every switch?"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import UsageError
from schedtuna.sim.fair import Fair
from schedtuna.sim.simulation import Simulation

MS = 1_000_000
LOADS = {
    "hogs": {"hog": {"instance": 3, "run": 9000}, "low": {"run": 9000, "priority": 5}},
    "sleepers": {"hog": {"run": 9000}, "sleeper": {"instance": 4, "run": 300, "sleep": 1700}},
    "yields": {"hog": {"instance": 2, "run": 9000}, "yields": {"run": 500, "yield": ""}},
    "forks": {
        "hog": {"instance": 2, "run": 900},
        "timer": {"run": 200, "timer": {"ref": "t", "period": 3000}},
    },
}


def same_switches(tasks, cpus=1, until_ns=200 * MS, **parts):
    native, python = (
        Simulation({"tasks": tasks, **parts}, scheduler, cpus=cpus) for scheduler in ("fair", Fair())
    )
    native.run(until_ns)
    python.run(until_ns)
    assert python.totals == native.totals
    return native.totals


@pytest.mark.parametrize("name", LOADS)
def test_plain_loads(name):
    assert same_switches(LOADS[name]).nr_switches > 20


# Each phase may run, sleep and yield, and begin with another nice value, policy or slice.
PHASES = st.fixed_dictionaries(
    {"run": st.integers(50, 6000)},
    optional={
        "sleep": st.integers(10, 5000),
        "yield": st.just(""),
        "priority": st.integers(-20, 19),
        "policy": st.sampled_from(["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"]),
        "dl-runtime": st.sampled_from([100, 500, 3000, 20_000]),
    },
)
TASKS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        lambda phases, nice, instance, delay: {
            "priority": nice,
            "instance": instance,
            "delay": delay,
            "phases": {f"p{number}": phase for number, phase in enumerate(phases)},
        },
        st.lists(PHASES, min_size=1, max_size=3),
        st.integers(-20, 19),
        st.integers(1, 3),
        st.integers(0, 3000),
    ),
    min_size=1,
)


@settings(max_examples=150, deadline=None)
@given(TASKS)
def test_random_loads_on_one_cpu(tasks):
    same_switches(tasks, until_ns=60 * MS)


@settings(max_examples=50, deadline=None)
@given(TASKS, st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_bound_tasks_on_several_cpus(tasks, cpus):
    bound = {name: {**task, "cpus": [cpu]} for (name, task), cpu in zip(tasks.items(), cpus, strict=False)}
    same_switches(bound, cpus=3, until_ns=60 * MS)


@settings(max_examples=100, deadline=None)
@given(
    TASKS, st.lists(st.sampled_from(["", "/a", "/a/b", "/c"]), min_size=6, max_size=6), st.integers(1, 10_000)
)
def test_groups_on_one_cpu(tasks, groups, weight):
    grouped = {
        name: {**task, **({"taskgroup": group} if group else {})}
        for (name, task), group in zip(tasks.items(), groups, strict=False)
    }
    same_switches(grouped, until_ns=60 * MS, taskgroups={"/a": {"cpu_weight": weight}})


def test_groups_on_several_cpus_are_refused():
    with pytest.raises(UsageError, match="need load averages"):
        Simulation({"tasks": {"a": {"run": 9, "taskgroup": "/a"}}}, Fair(), cpus=2)

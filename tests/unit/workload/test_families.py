"""Random families of loads: members are what their family says, and as heavy as they were asked to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import UsageError
from schedtuna.workload.families import FAMILIES, MAX_LOAD, MIN_LOAD, family

ROOT = Path(__file__).parents[3]
LONG = {"long", "batch"}  # take all that is left

members = st.tuples(
    st.sampled_from(list(FAMILIES)), st.integers(0, 2**64), st.integers(1, 8), st.floats(MIN_LOAD, MAX_LOAD)
)


def mean_us(amount):
    """The mean of a distribution, not by the formula that made it."""
    if isinstance(amount, int):
        return amount
    ((shape, of),) = amount.items()
    if shape == "exponential":
        return of
    if shape == "uniform":
        return (of["from"] + of["to"]) / 2
    if shape == "pareto":  # the integral of how likely more than x is
        x = np.geomspace(of["smallest"], of["largest"], 300)
        more = (x / of["smallest"]) ** (-of["tail_permille"] / 1000)
        return of["smallest"] + float(np.sum((more[1:] + more[:-1]) / 2 * np.diff(x)))
    assert shape == "lognormal"
    return of["median"] * float(np.exp((of["sigma_permille"] / 1000) ** 2 / 2))


def total(task, event: str):
    return sum(mean_us(value) for key, value in task.items() if key.startswith(event))


def offered(tasks):
    """CPUs that a load keeps busy if nobody waits: what is run per period, over how long that is."""
    cpus = 0.0
    for name, task in tasks.items():
        if name in LONG or task.get("instance") == 0 or (name.startswith("server") and "timer" not in task):
            continue
        run = total(task, "run")
        for key, target in task.items():  # children, and who answers
            if key.startswith("fork"):
                run += total(tasks[target], "run")
            if key.startswith("write"):
                run += total(tasks[f"server{name.removeprefix('client')}"], "run")
        period = mean_us(task["timer"]["period"]) if "timer" in task else run + total(task, "sleep")
        cpus += task.get("instance", 1) * run / period
    return cpus


@settings(max_examples=200, deadline=None)
@given(members)
def test_a_member_is_as_heavy_as_was_asked(member):
    name, seed, cpus, load = member
    tasks = family(name, seed, cpus, load)["tasks"]
    assert offered(tasks) == pytest.approx(load * cpus, rel=0.05)


@settings(max_examples=100, deadline=None)
@given(members)
def test_a_seed_is_a_member_and_another_seed_another(member):
    name, seed, cpus, load = member
    first = json.dumps(family(name, seed, cpus, load))
    assert json.dumps(family(name, seed, cpus, load)) == first
    assert any(json.dumps(family(name, seed + i, cpus, load)) != first for i in range(1, 4))


def test_members_stay_what_they_are():
    """A seed that was written down years ago has to mean the same load."""
    tasks = family("poisson", 1, 1, 0.5)["tasks"]
    # Random(1) begins with 0.13436: a mean of 200 + 1800 * 0.13436 us, and 4 / 0.5 times that between two.
    assert tasks["server0"] == {
        "timer": {"ref": "unique", "period": {"exponential": 3535}, "mode": "absolute"},
        "run": {"exponential": 442},
    }
    assert len(tasks) == 4


@pytest.mark.parametrize(
    ("name", "cpus", "load", "seconds"),
    [
        ("gauss", 1, 0.5, 1),
        ("poisson", 0, 0.5, 1),
        ("poisson", 1, 0.0, 1),
        ("poisson", 1, 5.0, 1),
        ("poisson", 1, float("nan"), 1),
        ("poisson", 1, 0.5, 0),
    ],
)
def test_what_no_family_can_be_is_refused(name, cpus, load, seconds):
    with pytest.raises(UsageError) as error:
        family(name, 1, cpus, load, seconds=seconds)
    assert error.value.hint


def test_the_page_lists_all_families():
    page = (ROOT / "docs/workload-files.md").read_text()
    assert [
        line for line in page.splitlines() if line.startswith(tuple(f"| `{name}` " for name in FAMILIES))
    ] == [f"| `{name}` | {family.help} |" for name, family in FAMILIES.items()]

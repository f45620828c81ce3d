"""A worker that would make other runs than this process is told from one that would not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schedtuna.backend.places.simulated import Simulated
from schedtuna.backend.simulated import workload_of
from schedtuna.fleet.sameness import Facts, differences, facts_here
from schedtuna.workload.spec import RunSpec

FACTS = Facts({"Schedtuna": "1.0", "numpy": "2.4"}, {"load": "interactive 12ab"}, "probe")


def test_equal_facts_do_not_differ():
    assert differences(FACTS, replace(FACTS)) == []


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (
            replace(FACTS, versions={"Schedtuna": "0.9", "numpy": "2.4"}),
            "Schedtuna is 0.9 there, and 1.0 here",
        ),
        (replace(FACTS, versions={"Schedtuna": "1.0"}), "numpy is absent there, and 2.4 here"),
        (
            replace(FACTS, identity={"load": "interactive 99"}),
            "load is interactive 99 there, and interactive 12ab here",
        ),
        (replace(FACTS, probe="another"), "a simulation that is the same everywhere came out otherwise"),
    ],
)
def test_what_differs_is_told(there, told):
    assert differences(FACTS, there) == [told]


def test_this_process_makes_the_same_runs_as_itself_and_a_changed_file_is_noticed(tmp_path):
    pytest.importorskip("nanobind_backend")
    load = tmp_path / "load.json"
    load.write_text('{"global": {"duration": 1}, "tasks": {"t": {"run": 1000, "sleep": 500}}}')
    place = Simulated.of(cpus=1)
    spec = RunSpec(workload=workload_of(str(load)), seed=1)

    def facts():
        with place.open(spec) as backend:
            return facts_here(place, spec, backend)

    before = facts()
    assert before.probe and before.versions["numpy"]
    assert differences(before, facts()) == []
    load.write_text('{"global": {"duration": 1}, "tasks": {"t": {"run": 2000, "sleep": 500}}}')
    (told,) = differences(before, facts())
    assert told.startswith("load is ")

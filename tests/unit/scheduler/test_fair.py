"""The fair scheduler's parameters on the machine at hand."""

import os

import numpy as np
import pytest

from schedtuna.errors import UnavailableError, UnknownParameterError, UsageError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.registry import all_knobs, knobs_for
from schedtuna.scheduler.fair import fair, moved_defaults, survey, unavailable


def test_every_knob_of_the_scope_is_offered_or_refused_with_a_reason():
    for scope in (Target(), Target(Scope.PID, pid=os.getpid()), Target(Scope.MACHINE)):
        offered = set(fair(scope, include=["all"]).parameters)
        refused = unavailable(scope)
        assert offered | set(refused) == {knob.name for knob in knobs_for(scope.scope)}
        assert not offered & set(refused)
        assert all(refused.values())


def test_the_default_values_are_what_is_found_so_they_change_nothing():
    scheduler = fair(include=["nice"])
    assert scheduler.values == {}
    assert scheduler.parameters["nice"].default == os.getpriority(os.PRIO_PROCESS, 0)
    assert scheduler.parameters["policy"].default == "other"


def test_what_only_limits_or_endangers_is_on_request():
    usual = set(fair().parameters)
    assert {"slice_us", "nice", "policy"} & usual
    assert not {"cpu_quota", "cpuset", "realtime", "rr_timeslice_ms"} & usual


def test_a_knob_on_request_is_added():
    rows = {row.knob.name: row for row in survey(Target())}
    for name in ("realtime", "cpu_quota", "rr_timeslice_ms"):
        if rows[name].spec is None:
            with pytest.raises(UnavailableError) as raised:
                fair(include=[name])
            assert rows[name].availability.reason in str(raised.value)
        else:
            assert set(fair(include=[name]).parameters) == {*fair().parameters, name}


def test_a_knob_of_another_scope_is_refused_by_name():
    with pytest.raises(UsageError, match="no knob 'nize'") as raised:
        fair(include=["nize"])
    assert "nice" in str(raised.value.hint)
    with pytest.raises(UsageError, match="no knob 'nice' in scope machine"):
        fair(Target(Scope.MACHINE), include=["nice"])


def test_a_process_that_ended_refuses_instead_of_failing():
    child = os.fork()
    if child == 0:
        os._exit(0)
    target = Target(Scope.PID, pid=child)  # still a zombie
    os.waitpid(child, 0)
    assert "nice" in unavailable(target)
    assert "nice" not in fair(target).parameters


def test_names_are_distinct_and_described():
    knobs = all_knobs()
    assert len({knob.name for knob in knobs}) == len(knobs)
    for knob in knobs:
        assert knob.description
        assert knob.scopes
        assert knob.offered_in <= knob.scopes


def test_autogroup_nice_is_searched_only_where_there_are_autogroups():
    scheduler = fair(include=["all"])
    if not {"autogroup", "autogroup_nice"} <= scheduler.parameters.keys():
        pytest.skip("autogroups can't be changed here")
    settled = scheduler.space.validate_assignment({"autogroup": True, "autogroup_nice": 5})
    assert settled["autogroup_nice"] == 5
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = scheduler.space.sample(rng)
        assert drawn["autogroup"] or drawn["autogroup_nice"] == scheduler.space.default()["autogroup_nice"]


def test_a_copy_with_other_parameters_has_another_space():
    scheduler = fair()
    whole = scheduler.space
    name = next(iter(scheduler.parameters))
    fewer = scheduler.with_parameters({name: scheduler.parameters[name]})
    assert fewer.space.names == (name,)
    assert scheduler.with_values({}).space == whole


def test_a_default_that_is_another_by_now_is_told():
    scheduler = fair(include=["nice"])
    assert moved_defaults(Target(), scheduler) == []
    spec = scheduler.parameters["nice"]
    was = spec.default - 1
    planned = scheduler.with_parameters({"nice": spec.model_copy(update={"default": was, "min_value": -40})})
    (told,) = moved_defaults(Target(), planned)
    assert told.startswith(f"nice is {spec.default} now, and was {was} when this was planned")


@pytest.mark.parametrize("target", [Target(), Target(Scope.PID, pid=os.getpid()), Target(Scope.MACHINE)])
def test_a_knob_that_is_no_parameter_says_why(target):
    scheduler = fair(target)
    for row in survey(target):
        if row.knob.name in scheduler.parameters:
            continue
        with pytest.raises(UnknownParameterError) as raised:
            scheduler.with_values({row.knob.name: 1})
        if row.spec is None:
            assert row.availability.reason in str(raised.value)
        else:
            assert row.why in str(raised.value)
            assert f"fair(include=['{row.knob.name}'])" in str(raised.value.hint)


def test_a_name_that_is_no_knob_gets_the_nearest():
    with pytest.raises(UnknownParameterError, match="unknown parameter 'nise'"):
        fair().with_values({"nise": 1})
